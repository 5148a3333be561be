"use strict";
(() => {
const $ = (s, r = document) => r.querySelector(s);
const $$ = (s, r = document) => [...r.querySelectorAll(s)];
const make = (tag, text, cls) => {
	const e = document.createElement(tag);
	if (text !== undefined) e.textContent = text;
	if (cls) e.className = cls;
	return e;
};
const SVG = "http://www.w3.org/2000/svg";
const number = v => v == null ? "" : Number.isInteger(v) ? String(v) :
	Math.abs(v) < 1e-3 || Math.abs(v) >= 1e6 ? v.toExponential(3) : String(+v.toPrecision(5));
const read = e => { try { return JSON.parse(e.textContent); } catch { return null; } };

/* --- theme --- */

const theme = $("#theme");
const themes = ["auto", "light", "dark"];
theme?.addEventListener("click", () => {
	const next = themes[(themes.indexOf(document.documentElement.dataset.theme || "auto") + 1) % 3];
	if (next === "auto") delete document.documentElement.dataset.theme;
	else document.documentElement.dataset.theme = next;
	theme.textContent = "Theme: " + next;
	document.dispatchEvent(new Event("theme"));
});

/* --- values of a figure --- */

/* Index of the x nearest to a step; of equal ones the first. */
const nearest = (x, step) => {
	let lo = 0, hi = x.length - 1;
	while (lo < hi) {
		const mid = (lo + hi) >> 1;
		if (x[mid] < step) lo = mid + 1;
		else hi = mid;
	}
	return lo > 0 && step - x[lo - 1] <= x[lo] - step ? lo - 1 : lo;
};
const range = (s, i) => s.lo && s.lo[i] != null && !/bars|spans|ribbons/.test(s.look) ?
	` (${number(s.lo[i])} to ${number(s.hi[i])})` : "";

const column = (h, c) => h.middle ? (h.x[c] + h.x[c + 1]) / 2 : h.x[c + 1];

const rows = data => {
	const out = [["panel", "series", "step", "value", "low", "high", "label"]];
	for (const p of data.panels) {
		for (const s of p.series)
			s.x.forEach((x, i) => out.push([p.title, s.name, x, s.y[i], s.lo?.[i], s.hi?.[i],
				s.label?.[i]]));
		const h = p.heat;
		h?.name.forEach((name, r) => {
			for (let c = 0; c + 1 < h.x.length; c++) {
				const v = h.v[r * (h.x.length - 1) + c];
				if (v != null) out.push([p.title, name, column(h, c), v]);
			}
		});
	}
	return out;
};
const quote = v => v == null ? "" : /[",\r\n]/.test(v) ? `"${String(v).replace(/"/g, '""')}"` : v;
const save = (name, text) => {
	const a = make("a");
	a.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
	a.download = name;
	a.click();
	setTimeout(() => URL.revokeObjectURL(a.href), 1000);
};

/* How far down a ribbon is at x: level at both ends, a cubic between them. */
const ribbon = (lo, hi, x) => {
	let a = 0, b = 1;
	for (let i = 0; i < 20; i++) {
		const t = (a + b) / 2;
		if (1.5 * t * (1 - t) + t ** 3 < x) a = t;
		else b = t;
	}
	return lo + (hi - lo) * a * a * (3 - 2 * a);
};

/* What stands at an x of a panel, and (dots, lives, cells, ribbons) at a height of it. */
const tell = (axis, panel, step, y, tall) => {
	const lines = axis ? [`${axis} ${number(Math.round(step))}`] : [];
	const h = panel.heat;
	if (h) {
		const n = h.x.length - 1, r = Math.floor(y * h.name.length);
		let c = h.x.findIndex((x, i) => i && step <= x) - 1;
		if (c < 0) c = n - 1;
		const at = (panel.sorted || [...h.name.keys()])[Math.min(Math.max(r, 0), h.name.length - 1)];
		const v = h.v[at * n + c];
		return (h.middle ? `slots ${h.name[at]} and ${h.name[c]}\n` :
			`expert ${h.name[at]}, ${axis} ${number(column(h, c))}\n`) +
			(v == null ? h.middle ? "the same" : "not alive" : `${number(v)} ${h.unit}`);
	}
	for (const s of panel.series) {
		if (!s.x.length) continue;
		if (s.look === "spans") {
			s.x.forEach((x, i) => {
				if (Math.abs(s.y[i] - y) < .5 && step >= x && step <= s.hi[i])
					lines.push(s.label[i]);
			});
		} else if (s.look === "ribbons") {
			s.x.forEach((x, i) => {
				const top = ribbon(s.lo[i], s.hi[i], step);
				if (step >= 0 && step <= 1 && y >= top && y <= top + s.y[i])
					lines.push(`${s.label[i]}: ${number(s.y[i])}`);
			});
		} else if (s.look === "bars" && s.label) {
			s.x.forEach((x, i) => {
				if (Math.abs(x - step) < .03 && y >= s.lo[i] && y <= s.hi[i])
					lines.push(`${s.label[i]}: ${number(s.y[i])}`);
			});
		} else if (s.look === "dots" && s.label) {
			s.x.forEach((x, i) => {
				if (Math.abs(x - step) < tall.near && Math.abs(s.y[i] - y) < tall.y)
					lines.push(axis ? `${s.label[i]}: ${number(s.y[i])} at ${number(x)}${range(s, i)}` :
						s.label[i]);
			});
		} else {
			const i = nearest(s.x, step);
			if (Math.abs(s.x[i] - step) <= tall.near * 2 || (s.look === "steps" && s.x[0] <= step))
				lines.push(`${s.name || "value"}: ${number(s.y[i])}${range(s, i)}`);
		}
	}
	return lines.length > 14 ? lines.slice(0, 14).join("\n") + "\n…" : lines.join("\n") || "nothing here";
};

const chart = (box, data, say) => {
	const svg = $("svg", box), panels = $$(".panel", svg);
	const [from, to] = svg.dataset.x.split(" ").map(Number);
	const place = panels.map(p => {
		const [x, y, w, h] = p.dataset.box.split(" ").map(Number);
		const [lo, hi] = p.dataset.y.split(" ").map(Number);
		return {x, y, w, h, lo, hi};
	});
	const tip = box.appendChild(make("div", "", "tip"));
	const cross = panels.map(p => {
		const l = document.createElementNS(SVG, "path");
		l.setAttribute("class", "cross");
		return p.appendChild(l);
	});
	let k = 0, step = from, high = .5;
	tip.hidden = true;
	const show = () => {
		const b = place[k], panel = data.panels[k];
		const y = panel.heat ? high : b.hi - high * (b.hi - b.lo);
		const px = b.x + (step - from) / (to - from) * b.w;
		const text = tell(data.axis, panel, step, y,
			{near: (to - from) / 60, y: Math.abs(b.hi - b.lo) * 12 / b.h});
		const scale = box.clientWidth / svg.viewBox.baseVal.width;
		cross.forEach((l, i) => l.setAttribute("d",
			`M${px} ${place[i].y}v${place[i].h}` +
			(i === k && (panel.heat || !data.axis || high !== .5) ? `M${b.x} ${b.y + high * b.h}h${b.w}` : "")));
		tip.textContent = text;
		tip.hidden = false;
		const left = px * scale + 14;
		tip.style.left = Math.max(0, left + tip.offsetWidth > box.clientWidth ?
			px * scale - tip.offsetWidth - 14 : left) + "px";
		tip.style.top = (b.y + Math.min(high, .6) * b.h) * scale + "px";
		return text;
	};
	const hide = () => {
		tip.hidden = true;
		cross.forEach(l => l.setAttribute("d", ""));
	};
	svg.addEventListener("pointermove", e => {
		const r = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / r.width;
		const x = (e.clientX - r.left) * scale, y = (e.clientY - r.top) * scale;
		k = place.findIndex(b => y < b.y + b.h && (!data.square || x < b.x + b.w + 8));
		if (k < 0) k = place.length - 1;
		const b = place[k];
		if (x < b.x - 4 || x > b.x + b.w + 4) return hide();
		step = from + Math.min(Math.max((x - b.x) / b.w, 0), 1) * (to - from);
		high = Math.min(Math.max((y - b.y) / b.h, 0), .999);
		show();
	});
	svg.addEventListener("pointerleave", hide);
	box.addEventListener("blur", hide);
	box.addEventListener("keydown", e => {
		const side = {ArrowLeft: -1, ArrowRight: 1}[e.key], up = {ArrowUp: -1, ArrowDown: 1}[e.key];
		if (e.key === "Escape") return hide();
		if (e.key === "Home") step = from;
		else if (e.key === "End") step = to;
		else if (side) step += side * (to - from) / (e.shiftKey ? 10 : 100);
		else if (up) {
			const panel = data.panels[k], n = panel.heat ? panel.heat.name.length :
				panel.series.some(s => s.look === "spans") ?
					Math.abs(place[k].hi - place[k].lo) : data.axis ? 1 : 40;
			high += up / n;
			if (high < 0 || high >= 1) {
				k = (k + up + place.length) % place.length;
				high = n > 1 ? (up > 0 ? .001 : .999) : .5;
			}
		} else return;
		e.preventDefault();
		step = Math.min(Math.max(step, from), to);
		say.textContent = data.panels[k].title + ": " + show();
	});
};

/* --- heat maps: the rows in another order --- */

const sort = (section, data, by) => {
	data.panels.forEach((panel, k) => {
		const h = panel.heat;
		if (!h) return;
		panel.sorted = [...h.name.keys()].sort((a, b) => h.order[a][by] - h.order[b][by] || a - b);
		for (const g of $$("svg", section).map(s => $$(".panel", s)[k])) {
			const image = $("image", g);
			if (!image) continue;
			image.dataset.first ||= image.getAttribute("href");
			$$(".row", g).forEach((t, i) => { t.textContent = h.name[panel.sorted[i]]; });
			const picture = new Image();
			picture.onload = () => {
				const c = make("canvas");
				c.width = picture.width;
				c.height = picture.height;
				panel.sorted.forEach((from, to) => c.getContext("2d").drawImage(picture,
					0, from, c.width, 1, 0, to, c.width, 1));
				image.setAttribute("href", c.toDataURL());
			};
			picture.src = image.dataset.first;
		}
	});
};

const table = list => {
	const t = make("table"), head = t.createTHead().insertRow(), body = t.createTBody();
	list[0].forEach(v => head.appendChild(make("th", v)).setAttribute("scope", "col"));
	for (const r of list.slice(1, 501)) {
		const row = body.insertRow();
		list[0].forEach((_, i) => row.insertCell().textContent =
			typeof r[i] === "number" ? number(r[i]) : r[i] ?? "");
	}
	return t;
};

const figure = section => {
	const data = read($("script", section));
	if (!data || section.dataset.ready) return;
	section.dataset.ready = "1";
	const say = section.appendChild(make("p", "", "unseen"));
	say.setAttribute("aria-live", "polite");
	$$(".chart", section).forEach(box => chart(box, data, say));
	$(".save", section).addEventListener("click", () =>
		save(data.kind + ".csv", rows(data).map(r => {
			while (r.length < 7) r.push(null);
			return r.map(quote).join(",");
		}).join("\n") + "\n"));
	$("details", section).addEventListener("toggle", e => {
		const room = $(".scroll", section), list = rows(data);
		if (!e.target.open || room.firstChild) return;
		room.appendChild(table(list));
		if (list.length > 501)
			room.after(make("p", `The first 500 of ${list.length - 1} rows; the CSV has all.`, "note"));
	});
	$(".sort", section)?.addEventListener("change", e => sort(section, data, +e.target.value));
};
const figures = () => $$("section.figure").forEach(figure);

/* --- where the reader is --- */

const contents = $("nav");
const mark = () => {
	const here = $$("main section[id]").filter(s => s.getBoundingClientRect().top < innerHeight / 3).pop();
	for (const a of $$("a", contents))
		if (here && a.hash === "#" + here.id) a.setAttribute("aria-current", "true");
		else a.removeAttribute("aria-current");
};
/* Figures come and go while a run is young. */
const list = () => {
	contents.replaceChildren(...$$("main section[id] > h2").map(h => {
		const a = make("a", h.textContent);
		a.href = "#" + h.parentNode.id;
		return a;
	}));
	mark();
};
addEventListener("scroll", mark, {passive: true});
mark();
window.moe = {figures, list, number, make, $, $$, read};
figures();
})();
