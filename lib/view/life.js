"use strict";
/* The life of experts step by step: cells, counters, log. Frames come from the page, or live. */
(() => {
const {figures, number, make, $, $$, read} = window.moe;
const box = $("#life");
if (!box) return;
const cells = $("#cells"), track = $("#track"), log = $("#log"), scrub = $("#scrub");
const LAYER = 0, SLOT = 1, ID = 2, PARENT = 3, BORN = 4, LOAD = 5, VALUE = 6;
let d = {frames: [], loss: [], baseline: [], events: [], phases: [], grace: 0, value: ""};
let at = 0, playing = false, follow = false, speed = 4, clock = 0, places = new Map();

/* --- what a cell is --- */

const state = (row, frame) => {
	const least = frame.threshold?.[row[LAYER]];
	if (row[BORN] > 0 && frame.step - row[BORN] < d.grace) return "newborn";
	if (row[LOAD] != null && row[LOAD] < .25) return "starved";
	if (least != null && row[VALUE] != null && row[VALUE] < least) return "unfit";
	if (row[LOAD] != null && row[LOAD] > 2) return "over";
	return "healthy";
};
const word = {newborn: "newborn", starved: "starved", unfit: "unfit", over: "overloaded", healthy: "healthy"};
let color = {};
const colors = () => {
	const s = getComputedStyle(document.documentElement);
	color.unfit = s.getPropertyValue("--starved").trim();
	for (const k of ["healthy", "over", "starved", "newborn", "ring", "ink", "soft", "line", "card", "bg",
		"s0", "s1", "b1", "b2", "b3", "b4"])
		color[k] = s.getPropertyValue("--" + k).trim();
};

/* --- drawing --- */

const context = c => {
	const dpr = window.devicePixelRatio || 1, w = c.clientWidth, h = c.clientHeight;
	if (c.width !== Math.round(w * dpr) || c.height !== Math.round(h * dpr)) {
		c.width = Math.round(w * dpr);
		c.height = Math.round(h * dpr);
	}
	const g = c.getContext("2d");
	g.setTransform(dpr, 0, 0, dpr, 0, 0);
	g.clearRect(0, 0, w, h);
	return [g, w, h];
};

/* Each layer a field, each slot a place in it that does not change. */
const layout = (w, h) => {
	const layers = [...slots.keys()].sort((a, b) => a - b), n = layers.length || 1;
	const most = Math.max(1, ...slots.values());
	let best = null;
	for (let across = 1; across <= n; across++) {
		const fw = w / across, fh = h / Math.ceil(n / across) - 18;
		for (let cols = 1; cols <= Math.min(most, 400); cols++) {
			const size = Math.min((fw - 8) / cols, fh / Math.ceil(most / cols), 110);
			if (!best || size > best.size + .5) best = {across, fw, fh, cols, size};
		}
	}
	best.layers = layers;
	return best;
};
let plan = null;
/* How many places each layer needs. */
let slots = new Map();
const learn = list => {
	for (const f of list)
		for (const r of f.rows)
			if ((slots.get(r[LAYER]) ?? 0) <= r[SLOT]) {
				slots.set(r[LAYER], r[SLOT] + 1);
				plan = null;
			}
};

const draw_cells = () => {
	const [g, w, h] = context(cells), f = d.frames[at];
	if (!f) return;
	if (!plan || plan.w !== w || plan.h !== h) {
		plan = layout(w, h);
		plan.w = w;
		plan.h = h;
	}
	const p = plan, r = p.size * .36;
	places = new Map();
	g.font = "12px system-ui, sans-serif";
	p.layers.forEach((layer, i) => {
		const x = i % p.across * p.fw, y = Math.floor(i / p.across) * (p.fh + 18);
		g.fillStyle = color.soft;
		g.fillText(`layer ${layer}`, x + 6, y + 13);
	});
	for (const row of f.rows) {
		const i = p.layers.indexOf(row[LAYER]);
		places.set(row[ID] + ":" + row[LAYER], {row,
			x: i % p.across * p.fw + (row[SLOT] % p.cols + .5) * p.size + 4,
			y: Math.floor(i / p.across) * (p.fh + 18) + 18 + (Math.floor(row[SLOT] / p.cols) + .5) * p.size});
	}
	g.lineWidth = 1;
	g.strokeStyle = color.soft;
	const links = [];
	for (const c of places.values()) {
		const up = places.get(c.row[PARENT] + ":" + c.row[LAYER]);
		if (up) links.push([c, up]);
	}
	g.globalAlpha = Math.max(.05, Math.min(.55, 30 / links.length));
	g.beginPath();
	for (const [c, up] of links) {
		g.moveTo(c.x, c.y);
		g.lineTo(up.x, up.y);
	}
	g.stroke();
	for (const c of places.values()) {
		const kind = state(c.row, f), load = c.row[LOAD] ?? 1;
		g.globalAlpha = 1;
		g.fillStyle = color[kind];
		g.beginPath();
		g.arc(c.x, c.y, Math.max(r * Math.min(Math.sqrt(Math.max(load, .06)), 1.25), 1), 0, 7);
		g.fill();
		if (load >= 1 && r > 2) {
			g.strokeStyle = color.ring;
			g.lineWidth = Math.min(1 + load, r / 3);
			g.beginPath();
			g.arc(c.x, c.y, r * 1.28, 0, 7);
			g.stroke();
		}
		if (r > 9) {
			g.fillStyle = "#12151a";
			g.textAlign = "center";
			g.font = `600 ${Math.min(r * .8, 16)}px system-ui, sans-serif`;
			g.fillText(c.row[ID], c.x, c.y + Math.min(r * .28, 5.5));
			g.textAlign = "start";
		}
	}
	/* Who was born or died since the frame before. */
	const since = at ? d.frames[at - 1].step : -1;
	for (const e of d.events) {
		if (e[0] <= since || e[0] > f.step || e[0] === 0) continue;
		const c = [...places.values()].find(c => c.row[LAYER] === e[1] && c.row[SLOT] === e[2]);
		if (!c || (e[3] !== "birth" && e[3] !== "death")) continue;
		g.strokeStyle = e[3] === "birth" ? color.newborn : color.starved;
		g.lineWidth = 2;
		g.setLineDash(e[3] === "birth" ? [] : [3, 3]);
		g.beginPath();
		g.arc(c.x, c.y, r * 1.5 + 2, 0, 7);
		g.stroke();
		g.setLineDash([]);
	}
};

const draw_track = () => {
	const [g, w, h] = context(track);
	const all = d.loss.concat(d.baseline), left = 34, bottom = h - 16;
	if (!all.length) return;
	const last = Math.max(all[all.length - 1][0], ...d.loss.slice(-1).map(p => p[0]), 1);
	let lo = Infinity, hi = -Infinity;
	for (const p of all) {
		lo = Math.min(lo, p[1]);
		hi = Math.max(hi, p[1]);
	}
	if (hi === lo) hi = lo + 1;
	const X = s => left + s / last * (w - left - 6), Y = v => 6 + (hi - v) / (hi - lo) * (bottom - 10);
	d.phases.forEach((p, i) => {
		const end = d.phases[i + 1]?.from ?? last;
		if (p.color) {
			g.fillStyle = color["b" + (1 + (p.color - 1) % 4)];
			g.fillRect(X(p.from), 2, X(end) - X(p.from), bottom - 2);
		}
		g.fillStyle = color.soft;
		g.font = "11px system-ui, sans-serif";
		if (X(end) - X(p.from) > g.measureText(p.name).width + 8)
			g.fillText(p.name, X(p.from) + 4, 14);
	});
	const line = (list, c, dash) => {
		g.strokeStyle = c;
		g.lineWidth = 1.6;
		g.setLineDash(dash);
		g.beginPath();
		list.forEach((p, i) => g[i ? "lineTo" : "moveTo"](X(p[0]), Y(p[1])));
		g.stroke();
		g.setLineDash([]);
	};
	line(d.baseline, color.s1, [6, 3]);
	line(d.loss, color.s0, []);
	g.fillStyle = color.soft;
	g.textAlign = "end";
	g.fillText(number(+hi.toPrecision(3)), left - 5, 14);
	g.fillText(number(+lo.toPrecision(3)), left - 5, bottom);
	g.fillText(`step ${last}`, w - 6, h - 3);
	g.textAlign = "start";
	const f = d.frames[at];
	if (f) {
		g.strokeStyle = color.ink;
		g.lineWidth = 1;
		g.beginPath();
		g.moveTo(X(Math.min(f.step, last)), 2);
		g.lineTo(X(Math.min(f.step, last)), bottom);
		g.stroke();
	}
};

const loss_at = step => {
	let v = null;
	for (const p of d.loss) {
		if (p[0] > step) break;
		v = p[1];
	}
	return v;
};

const tile = (name, value) => {
	const t = $(`[data-tile="${name}"]`, box);
	if (t) t.textContent = value;
};

const count = step => {
	const n = {birth: 0, death: 0, replace: 0};
	for (const e of d.events) {
		if (e[0] > step) break;
		if (e[3] in n) n[e[3]]++;
		if (e[3] === "birth" && e[6] === "replace") n.replace++;
	}
	return n;
};

const told = e => {
	const who = e[4] == null ? "" : ` ${e[4]}`;
	if (e[3] === "shift") return `the text is now ${e[6]}`;
	if (e[3] === "birth") return `expert${who} born in layer ${e[1]}, slot ${e[2]}` +
		(e[5] == null ? "" : `, child of ${e[5]}`) + (e[6] ? ` (${e[6]})` : "");
	if (e[3] === "death") return `expert${who} died in layer ${e[1]}, slot ${e[2]}` +
		(e[6] ? ` (${e[6]})` : "");
	return `${e[3]}${who}` + (e[1] == null ? "" : ` in layer ${e[1]}`) + (e[6] ? ` (${e[6]})` : "");
};
let logged = "";
const draw_log = step => {
	const list = d.events.filter(e => e[0] <= step).slice(-60).reverse();
	const key = list.length + ":" + (list[0] || "") + d.events.length;
	if (key === logged) return;
	logged = key;
	log.replaceChildren(...list.map(e => make("li", `${e[0]}: ${told(e)}`,
		e[6] === "replace" && e[3] === "birth" ? "replace" : e[3])));
};

const draw = () => {
	if (!color.ink) colors();
	const f = d.frames[at];
	draw_cells();
	draw_track();
	const step = follow && d.loss.length ? Math.max(d.loss[d.loss.length - 1][0], f?.step ?? 0) : f?.step ?? 0;
	const n = count(step), kinds = {newborn: 0, starved: 0, unfit: 0, over: 0, healthy: 0};
	for (const r of f?.rows || []) kinds[state(r, f)]++;
	tile("step", step);
	tile("loss", number(loss_at(step)));
	tile("living", f?.rows.length ?? 0);
	tile("births", n.birth);
	tile("deaths", n.death);
	tile("replaced", n.replace);
	tile("phi", number(f?.phi));
	draw_log(step);
	scrub.max = Math.max(d.frames.length - 1, 0);
	scrub.value = at;
	scrub.setAttribute("aria-valuetext", `step ${f?.step ?? 0}`);
	cells.setAttribute("aria-label", f ? `At step ${f.step}: ${f.rows.length} experts live; ` +
		`${kinds.healthy} healthy, ${kinds.over} overloaded, ${kinds.starved} starved, ${kinds.unfit} unfit, ` +
		`${kinds.newborn} newborn.` : "No census yet.");
	if ($("#now").open) draw_table(f);
};

const draw_table = f => {
	const t = make("table"), head = t.createTHead().insertRow(), body = t.createTBody();
	for (const name of ["layer", "slot", "expert", "parent", "born", "load", d.value || "value", "state"])
		head.appendChild(make("th", name)).setAttribute("scope", "col");
	for (const r of (f?.rows || []).slice(0, 500)) {
		const row = body.insertRow();
		for (let i = 0; i <= VALUE; i++)
			row.insertCell().textContent = i === PARENT && r[i] < 0 ? "" : number(r[i]);
		row.insertCell().textContent = word[state(r, f)];
	}
	$("#now .scroll").replaceChildren(t);
};
$("#now").addEventListener("toggle", () => draw());

/* --- controls --- */

const play = on => {
	playing = on;
	$("#play").textContent = on ? "Pause" : "Play";
	$("#play").setAttribute("aria-pressed", on);
	if (on && at >= d.frames.length - 1 && !follow) at = 0;
	clock = 0;
	if (on) requestAnimationFrame(tick);
};
const seek = i => {
	at = Math.min(Math.max(i, 0), Math.max(d.frames.length - 1, 0));
	draw();
};
const tick = now => {
	if (!playing) return;
	if (!clock) clock = now;
	const n = Math.floor((now - clock) / 1000 * speed);
	if (n > 0) {
		clock = now;
		if (at + n >= d.frames.length - 1 && !source) play(false);
		seek(at + n);
	}
	requestAnimationFrame(tick);
};
const following = on => {
	follow = on;
	$("#follow")?.setAttribute("aria-pressed", on);
	if (on) {
		play(false);
		seek(d.frames.length - 1);
	}
};
$("#play").addEventListener("click", () => {
	if (!playing) following(false);
	play(!playing);
});
$("#reset").addEventListener("click", () => {
	following(false);
	play(false);
	seek(0);
});
$("#follow")?.addEventListener("click", () => following(!follow));
$("#speed").addEventListener("change", e => { speed = +e.target.value; clock = 0; });
scrub.addEventListener("input", () => {
	following(false);
	play(false);
	seek(+scrub.value);
});
track.addEventListener("click", e => {
	const last = d.loss.length ? d.loss[d.loss.length - 1][0] : 1;
	const step = (e.offsetX - 34) / (track.clientWidth - 40) * last;
	following(false);
	let i = d.frames.findIndex(f => f.step >= step);
	seek(i < 0 ? d.frames.length - 1 : i);
});
const tip = cells.parentNode.appendChild(make("div", "", "tip"));
tip.hidden = true;
cells.addEventListener("pointermove", e => {
	let best = null, far = 30 * 30;
	for (const c of places.values()) {
		const q = (c.x - e.offsetX) ** 2 + (c.y - e.offsetY) ** 2;
		if (q < far) {
			far = q;
			best = c;
		}
	}
	tip.hidden = !best;
	if (!best) return;
	const r = best.row, f = d.frames[at];
	tip.textContent = `expert ${r[ID]}: ${word[state(r, f)]}\nlayer ${r[LAYER]}, slot ${r[SLOT]}\n` +
		(r[BORN] > 0 ? `born ${r[BORN]}` : "a founder") + (r[PARENT] >= 0 ? `, child of ${r[PARENT]}` : "") +
		`\nload ${number(r[LOAD])} fair shares` + (r[VALUE] == null ? "" : `\n${d.value} ${number(r[VALUE])}`);
	tip.style.left = Math.min(best.x + 12, cells.clientWidth - tip.offsetWidth) + "px";
	tip.style.top = best.y + 12 + "px";
});
cells.addEventListener("pointerleave", () => { tip.hidden = true; });
addEventListener("resize", () => draw());
document.addEventListener("theme", () => { colors(); draw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colors(); draw(); });

/* --- where frames come from --- */

let source = null, stale = false, asked = 0;
const say = s => { $("#state").textContent = s; };

/* The figures are the server's to draw: the page asks for them again, not too often. */
const refresh = async () => {
	if (!stale || Date.now() - asked < 4000 || document.hidden) return;
	stale = false;
	asked = Date.now();
	try {
		const r = await fetch("figures");
		if (!r.ok) return;
		const open = new Set($$("section.figure details[open]").map(e => e.closest("section").id));
		if ($(".figures").contains(document.activeElement)) {
			stale = true;
			return;
		}
		const t = make("template");
		t.innerHTML = await r.text();
		$("#story").replaceWith($("#story", t.content));
		$(".figures").replaceChildren(t.content);
		figures();
		open.forEach(id => { const e = document.getElementById(id); if (e) $("details", e).open = true; });
	} catch { stale = true; }
};

const take = m => {
	if (m.all) {
		d = m.all;
		slots = new Map();
		plan = null;
		learn(d.frames);
	}
	learn(m.frames || []);
	for (const f of m.frames || []) d.frames.push(f);
	for (const p of m.loss || []) d.loss.push(p);
	for (const e of m.events || []) d.events.push(e);
	if (m.phases) d.phases = m.phases;
	stale = true;
	if (follow || m.all) at = follow ? Math.max(d.frames.length - 1, 0) : Math.min(at, Math.max(d.frames.length - 1, 0));
	draw();
};

if (document.body.dataset.live !== undefined) {
	source = new EventSource("events");
	source.onopen = () => say("connected");
	source.onerror = () => say("not connected: waiting for the server");
	source.onmessage = e => {
		say("live");
		take(JSON.parse(e.data));
	};
	setInterval(refresh, 1000);
	following(true);
} else {
	d = read($("#frames")) || d;
	learn(d.frames);
	seek(d.frames.length - 1);
}
})();
