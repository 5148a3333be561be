"use strict";
/* The life of experts step by step: cells, counters, log. Frames come from the page, or live. */
(() => {
const {figures, list, number, make, $, $$, read} = window.moe;
const box = $("#life");
if (!box) return;
const cells = $("#cells"), track = $("#track"), log = $("#log"), scrub = $("#scrub"), links = $("#links");
const LAYER = 0, SLOT = 1, ID = 2, PARENT = 3, BORN = 4, LOAD = 5, VALUE = 6;
const STEP = 0, EVENT = 3, CAUSE = 6; /* of an event */
let d = {frames: [], loss: [], baseline: [], events: [], phases: [], near: null, limits: null, grace: 0, value: ""};
let at = 0, playing = false, follow = false, speed = 4, clock = 0;

/* How many of a rising list are at or before a step. */
const upto = (n, step, of) => {
	let lo = 0, hi = n;
	while (lo < hi) {
		const mid = (lo + hi) >> 1;
		if (of(mid) <= step) lo = mid + 1;
		else hi = mid;
	}
	return lo;
};

/* --- what a cell is --- */

const states = ["healthy", "over", "starved", "unfit", "newborn"];
const word = {newborn: "newborn", starved: "starved", unfit: "unfit", over: "overloaded", healthy: "healthy"};
const state = (row, frame) => {
	const least = frame.threshold?.[row[LAYER]], v = row[VALUE], load = row[LOAD];
	if (row[BORN] > 0 && frame.step - row[BORN] < d.grace) return "newborn";
	if (d.limits && v != null) return v < d.limits[0] ? "starved" : v > d.limits[1] ? "over" : "healthy";
	if (load != null && load < .25) return "starved";
	if (least != null && v != null && v < least) return "unfit";
	return load != null && load > 2 ? "over" : "healthy";
};

const color = {};
const colors = () => {
	const probe = document.body.appendChild(make("i"));
	for (const k of ["healthy", "over", "starved", "unfit", "newborn", "ring", "ink", "soft", "line", "bg", "s0", "s1",
		"b1", "b2", "b3", "b4"]) {
		probe.style.color = `var(--${k})`;
		color[k] = getComputedStyle(probe).color;
	}
	probe.remove();
};

const legend = () => {
	const say = {
		healthy: ["healthy", "healthy"],
		over: ["over", d.limits ? `overloaded: vitality above ${number(d.limits[1])}` :
			"overloaded: more than 2 fair shares"],
		starved: ["starved", d.limits ? `starved: vitality below ${number(d.limits[0])}` :
			"starved: less than ¼ fair share"],
		...(d.value && !d.limits ? {unfit: ["unfit", "unfit: fitness below the threshold"]} : {}),
		newborn: ["newborn", `newborn: younger than ${number(d.grace)} steps`],
	};
	$("#states").replaceChildren(...Object.values(say).map(([k, text]) => {
		const s = make("span", text), i = make("i");
		i.style.background = `var(--${k})`;
		s.prepend(i);
		return s;
	}), (() => {
		const s = make("span", "ring: a fair share of the tokens or more");
		s.prepend(make("i", "", "ring"));
		return s;
	})());
	if (d.near?.links.length)
		$("#states").append(make("span", `nearest keys: of the checkpoint at step ${d.near.step}`));
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
const font = getComputedStyle(document.body).fontFamily;

/* Each layer a field, each slot a place in it that does not change. */
const HEAD = 20;
const layout = w => {
	const h = innerWidth < 736 ? 320 : 400;
	const layers = [...slots.keys()].sort((a, b) => a - b), n = layers.length || 1;
	const most = Math.max(1, ...slots.values());
	let best = null;
	for (let across = 1; across <= n; across++) {
		const fw = w / across - (across > 1 ? 12 : 0), fh = h / Math.ceil(n / across) - HEAD;
		for (let cols = 1; cols <= Math.min(most, 400); cols++) {
			const size = Math.min(fw / cols, fh / Math.ceil(most / cols), 72);
			if (!best || size > best.size + .5 || (across === best.across && size >= best.size))
				best = {w, across, down: Math.ceil(n / across), fw: w / across, cols, size};
		}
	}
	best.fh = Math.ceil(most / best.cols) * best.size;
	cells.style.height = Math.ceil(best.down * (best.fh + HEAD)) + "px";
	best.layers = layers;
	best.index = new Map(layers.map((l, i) => [l, i]));
	return best;
};
let plan = null;
/* How many places each layer needs. */
let slots = new Map();
const learn = frames => {
	for (const f of frames)
		for (const r of f.rows)
			if ((slots.get(r[LAYER]) ?? 0) <= r[SLOT]) {
				slots.set(r[LAYER], r[SLOT] + 1);
				plan = null;
			}
};

/* The cells that are shown: {row, x, y, r, kind}, and where each expert is among them. */
let shown = [], where = new Map();
const key = (layer, id) => layer * 1e7 + id + 1; /* 0: none */
const arrange = f => {
	const p = plan, r = p.size * .31;
	shown = [];
	for (const row of f.rows) {
		const i = p.index.get(row[LAYER]), load = row[LOAD] ?? 1;
		shown.push({row, kind: state(row, f),
			x: i % p.across * p.fw + (row[SLOT] % p.cols + .5) * p.size,
			y: Math.floor(i / p.across) * (p.fh + HEAD) + HEAD + (Math.floor(row[SLOT] / p.cols) + .5) * p.size,
			r: Math.max(r * Math.min(Math.sqrt(Math.max(load, .05)), 1.3), 1)});
	}
	where = links.value || cursor ?
		new Map(shown.map((c, i) => [key(c.row[LAYER], c.row[ID]), i])) : new Map();
	return r;
};
/* One by one: a path of thousands takes several times longer. */
const circle = (g, how, c, r) => {
	g.beginPath();
	g.arc(c.x, c.y, r, 0, 7);
	g[how]();
};
/* Of the smallest cells nobody sees the corners, and a circle costs ten times as much. */
const SMALL = 5;
const disc = (g, c, r) => {
	if (plan.size > SMALL * 3) circle(g, "fill", c, r);
	else g.fillRect(c.x - r * .89, c.y - r * .89, r * 1.78, r * 1.78);
};

const draw_links = g => {
	const pairs = [];
	if (links.value === "near")
		for (const [layer, a, b, like] of d.near?.links || []) {
			const i = where.get(key(layer, a)), k = where.get(key(layer, b));
			if (i !== undefined && k !== undefined && like > 0) pairs.push([shown[i], shown[k], like]);
		}
	else if (links.value === "up")
		for (const c of shown) {
			const k = where.get(key(c.row[LAYER], c.row[PARENT]));
			if (k !== undefined && c.row[PARENT] >= 0) pairs.push([c, shown[k], .5]);
		}
	/* In five strengths, so that thousands are a few strokes; straight ones, which are cheaper. */
	const many = pairs.length > 400;
	g.strokeStyle = color.soft;
	for (let k = 0; k < 5; k++) {
		g.globalAlpha = (k + 1) / 5 * Math.max(.25, Math.min(1, 60 / Math.sqrt(pairs.length + 1) / 6));
		g.lineWidth = many ? 1 : 1 + k / 3;
		g.beginPath();
		for (const [a, b, like] of pairs)
			if (Math.min(Math.floor(like * 5), 4) === k) {
				/* Bowed, not to run through those between. */
				const far = Math.hypot(b.x - a.x, b.y - a.y), bow = Math.min(.5, .8 * plan.size / far);
				g.moveTo(a.x, a.y);
				if (many) g.lineTo(b.x, b.y);
				else g.quadraticCurveTo((a.x + b.x + (b.y - a.y) * bow) / 2, (a.y + b.y - (b.x - a.x) * bow) / 2,
					b.x, b.y);
			}
		g.stroke();
	}
	g.globalAlpha = 1;
};

/* Around who has a fair share; of small cells a disc behind them, which is cheaper. */
const draw_rings = (g, r) => {
	g.strokeStyle = g.fillStyle = color.ring;
	g.lineWidth = 2.4;
	const ring = r > 9 ? c => circle(g, "stroke", c, c.r + 3) :
		c => disc(g, c, c.r + Math.min(r / 3, 1.5));
	for (const c of shown)
		if (c.row[LOAD] >= 1) ring(c);
};

/* Who was born or died since the frame before. */
const draw_events = (g, f, r) => {
	const last = at ? d.frames[at - 1].step : 0, of = i => d.events[i][STEP];
	if (upto(d.events.length, last, of) === upto(d.events.length, f.step, of)) return;
	const slot = new Map(shown.map(c => [key(c.row[LAYER], c.row[SLOT]), c]));
	for (let i = upto(d.events.length, last, of), end = upto(d.events.length, f.step, of); i < end; i++) {
		const e = d.events[i], c = slot.get(key(e[1], e[2])), birth = e[EVENT] === "birth";
		if (!c || (!birth && e[EVENT] !== "death")) continue;
		g.strokeStyle = birth ? color.newborn : color.starved;
		g.lineWidth = 2;
		g.setLineDash(birth ? [] : [3, 3]);
		circle(g, "stroke", c, r * 1.5 + 2);
	}
	g.setLineDash([]);
};

const draw_cells = () => {
	const f = d.frames[at];
	if (!f) return;
	if (!plan || plan.w !== cells.clientWidth) plan = layout(cells.clientWidth);
	const [g] = context(cells), r = arrange(f);
	g.font = `12px ${font}`;
	g.fillStyle = color.soft;
	plan.layers.forEach((layer, i) =>
		g.fillText(`layer ${layer}`, i % plan.across * plan.fw + 2, Math.floor(i / plan.across) * (plan.fh + HEAD) + 13));
	draw_links(g);
	draw_rings(g, r);
	for (const kind of states) {
		g.fillStyle = color[kind];
		for (const c of shown)
			if (c.kind === kind) disc(g, c, c.r);
	}
	if (r > 9) {
		g.fillStyle = "#12151a";
		g.textAlign = "center";
		g.font = `600 ${Math.min(r * .7, 14)}px ${font}`;
		for (const c of shown)
			if (c.r > r * .6) g.fillText(c.row[ID], c.x, c.y + Math.min(r * .25, 5));
		g.textAlign = "start";
	}
	draw_events(g, f, r);
	if (cursor) {
		const c = shown[where.get(cursor)];
		if (!c) return;
		g.strokeStyle = color.ink;
		g.lineWidth = 2;
		g.strokeRect(c.x - r * 1.35, c.y - r * 1.35, r * 2.7, r * 2.7);
	}
};

const LEFT = 34;
const end = () => Math.max(1, ...[d.loss, d.baseline].map(l => l.at(-1)?.[0] ?? 0), d.frames.at(-1)?.step ?? 0);
const across = (w, s) => LEFT + s / end() * (w - LEFT - 2);
/* The curves and what is around them. */
const draw_curves = (g, w, h) => {
	const all = d.loss.concat(d.baseline), bottom = h - 18, last = end();
	let lo = Infinity, hi = -Infinity;
	for (const p of all) {
		lo = Math.min(lo, p[1]);
		hi = Math.max(hi, p[1]);
	}
	if (hi === lo) hi = lo + 1;
	const X = s => across(w, s), Y = v => 20 + (hi - v) / (hi - lo) * (bottom - 24);
	g.font = `11.5px ${font}`;
	d.phases.forEach((p, i) => {
		const x = X(p.from), end = X(Math.min(d.phases[i + 1]?.from ?? last, last));
		if (p.color) {
			g.fillStyle = color["b" + (1 + (p.color - 1) % 4)];
			g.fillRect(x, 0, end - x, bottom);
		}
		g.fillStyle = color.soft;
		if (end - x > g.measureText(p.name).width + 8) g.fillText(p.name, x + 5, 12);
	});
	const line = (points, c, dash) => {
		g.strokeStyle = c;
		g.lineWidth = 1.6;
		g.lineJoin = "round";
		g.setLineDash(dash);
		g.beginPath();
		points.forEach((p, i) => g[i ? "lineTo" : "moveTo"](X(p[0]), Y(p[1])));
		g.stroke();
		g.setLineDash([]);
	};
	line(d.baseline, color.s1, [6, 3]);
	line(d.loss, color.s0, []);
	g.strokeStyle = color.soft;
	g.lineWidth = 1;
	g.strokeRect(LEFT, bottom + .5, w - LEFT - 2, 0);
	g.fillStyle = color.soft;
	g.textAlign = "end";
	g.fillText(number(+hi.toPrecision(3)), LEFT - 6, 24);
	g.fillText(number(+lo.toPrecision(3)), LEFT - 6, bottom);
	g.fillText(`step ${last}`, w - 2, h - 4);
	g.textAlign = "start";
	g.fillText("loss", LEFT, h - 4);
};
/* Thousands of steps take longer than thousands of cells: they are drawn when they are others. */
const still = make("canvas");
let drawn = "";
const draw_track = () => {
	const [g, w, h] = context(track), f = d.frames[at];
	if (!d.loss.length && !d.baseline.length) return;
	const what = [track.width, track.height, color.ink, end(), d.phases.length,
		...[d.loss, d.baseline].flatMap(l => [l.length, l[0], l.at(-1)])].join();
	if (what !== drawn) {
		drawn = what;
		still.width = track.width;
		still.height = track.height;
		const on = still.getContext("2d");
		on.scale(track.width / w, track.height / h);
		draw_curves(on, w, h);
	}
	g.drawImage(still, 0, 0, w, h);
	if (!f) return;
	g.fillStyle = color.ink;
	g.fillRect(across(w, Math.min(f.step, end())) - .75, 0, 1.5, h - 18);
};

/* --- counters and log --- */

const tile = (name, value) => {
	const t = $(`[data-tile="${name}"]`, box);
	t.textContent = value;
	if (name === "phi") t.parentNode.hidden = value === "";
};
const short = v => v == null ? "" : v.toPrecision(4);

/* Births, deaths and replacements up to each event. */
let sums = [[0, 0, 0]];
const add_up = () => {
	for (let i = sums.length - 1; i < d.events.length; i++) {
		const [b, k, r] = sums[i], e = d.events[i], birth = e[EVENT] === "birth";
		sums.push([b + birth, k + (e[EVENT] === "death" || e[EVENT] === "merge"),
			r + (birth && e[CAUSE] === "replace")]);
	}
};

/*
 * Who lives after n events: the founders, and what has been born less what has died.  Where events
 * do not tell of all who came and went, the census alone: it is taken before what its step brings.
 */
let founders = 0, founded = -1;
const count_living = (f, n) => {
	if (!f) return 0;
	const of = i => d.events[i][STEP], known = upto(d.events.length, d.frames[0].step, of);
	if (founded !== known) {
		const ids = new Set(d.frames[0].rows.map(r => key(r[LAYER], r[ID])));
		for (const e of d.events.slice(0, known))
			if (e[EVENT] === "death" || e[EVENT] === "merge") ids.add(key(e[1], e[4]));
		for (const e of d.events.slice(0, known))
			if (e[EVENT] === "birth") ids.delete(key(e[1], e[4]));
		founders = ids.size;
		founded = known;
	}
	const after = i => founders + sums[i][0] - sums[i][1];
	const agrees = step => after(upto(d.events.length, step, of)) === f.rows.length;
	return agrees(f.step) || agrees(f.step - .5) ? after(n) : f.rows.length;
};

const told = e => {
	const who = e[4] == null ? "" : ` ${e[4]}`, place = e[1] == null ? "" : ` in layer ${e[1]}`;
	const why = e[CAUSE] ? ` (${e[CAUSE]})` : "";
	if (e[EVENT] === "shift") return `the text is now ${e[CAUSE]}`;
	if (e[EVENT] === "birth")
		return `expert${who} born${place}, slot ${e[2]}` + (e[5] == null ? "" : `, child of ${e[5]}`) + why;
	if (e[EVENT] === "death") return `expert${who} died${place}, slot ${e[2]}${why}`;
	return `${e[EVENT]}${who}${place}${why}`;
};
let logged = "";
const draw_log = n => {
	const key = n + ":" + (d.events[n - 1] || "");
	if (key === logged) return;
	logged = key;
	log.replaceChildren(...d.events.slice(Math.max(n - 60, 0), n).reverse().map(e => {
		const li = make("li", "", e[EVENT]);
		li.append(make("b", e[STEP]), " ", told(e));
		return li;
	}));
	if (!n) log.append(make("li", "Nothing has happened to any expert so far."));
};

const draw = () => {
	if (!color.ink) colors();
	const f = d.frames[at];
	draw_cells();
	draw_track();
	const step = follow && d.loss.length ? Math.max(d.loss.at(-1)[0], f?.step ?? 0) : f?.step ?? 0;
	const n = upto(d.events.length, step, i => d.events[i][STEP]);
	const known = upto(d.loss.length, step, i => d.loss[i][0]);
	tile("step", step);
	tile("loss", known ? short(d.loss[known - 1][1]) : "");
	tile("living", count_living(f, n));
	["births", "deaths", "replaced"].forEach((name, i) => tile(name, sums[n][i]));
	tile("phi", short(f?.phi));
	draw_log(n);
	scrub.max = Math.max(d.frames.length - 1, 0);
	scrub.value = at;
	scrub.setAttribute("aria-valuetext", `step ${f?.step ?? 0}`);
	cells.setAttribute("aria-label", f ? `At step ${f.step}: ${f.rows.length} experts live; ` +
		states.map(k => `${shown.filter(c => c.kind === k).length} ${word[k]}`).join(", ") + "." : "No census yet.");
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
		clock += n * 1000 / speed;
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
const stop = () => {
	following(false);
	play(false);
};
$("#play").addEventListener("click", () => {
	if (!playing) following(false);
	play(!playing);
});
$("#reset").addEventListener("click", () => { stop(); seek(0); });
$("#follow")?.addEventListener("click", () => following(!follow));
$("#speed").addEventListener("change", e => { speed = +e.target.value; clock = 0; });
links.addEventListener("change", () => draw());
scrub.addEventListener("input", () => { stop(); seek(+scrub.value); });
track.addEventListener("click", e => {
	const step = (e.offsetX - LEFT) / (track.clientWidth - LEFT - 2) * end();
	const i = d.frames.findIndex(f => f.step >= step);
	stop();
	seek(i < 0 ? d.frames.length - 1 : i);
});

/* --- one cell, by pointer or keys --- */

const tip = cells.parentNode.appendChild(make("div", "", "tip"));
let cursor = 0;
tip.hidden = true;
const show = c => {
	const r = c.row;
	tip.textContent = `expert ${r[ID]}: ${word[c.kind]}\nlayer ${r[LAYER]}, slot ${r[SLOT]}\n` +
		(r[BORN] > 0 ? `born ${r[BORN]}` : "a founder") + (r[PARENT] >= 0 ? `, child of ${r[PARENT]}` : "") +
		`\nload ${number(r[LOAD])} fair shares` + (r[VALUE] == null ? "" : `\n${d.value} ${number(r[VALUE])}`);
	tip.hidden = false;
	tip.style.left = Math.max(Math.min(c.x + 14, cells.clientWidth - tip.offsetWidth), 0) + "px";
	tip.style.top = c.y + 14 + "px";
	return tip.textContent;
};
const nearest = (x, y, far, fits) => {
	let best = null;
	for (const c of shown) {
		const q = (c.x - x) ** 2 + (c.y - y) ** 2;
		if (q < far && fits(c)) {
			far = q;
			best = c;
		}
	}
	return best;
};
const point = e => {
	const c = nearest(e.offsetX, e.offsetY, 30 * 30, () => true);
	if (c) show(c);
	else tip.hidden = true;
};
cells.addEventListener("pointermove", point);
cells.addEventListener("pointerdown", point);
const leave = () => {
	tip.hidden = true;
	if (cursor) {
		cursor = 0;
		draw();
	}
};
cells.addEventListener("pointerleave", leave);
cells.addEventListener("blur", leave);
cells.addEventListener("keydown", e => {
	const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[e.key];
	if (e.key === "Escape") return leave();
	if (!move || !shown.length) return;
	e.preventDefault();
	const from = shown[where.get(cursor)];
	const c = !from ? shown[0] : nearest(from.x, from.y, Infinity, c => {
		const x = (c.x - from.x) * move[0] + (c.y - from.y) * move[1];
		const aside = Math.abs((c.x - from.x) * move[1]) + Math.abs((c.y - from.y) * move[0]);
		return x > 1 && aside <= x;
	});
	if (!c) return;
	cursor = key(c.row[LAYER], c.row[ID]);
	draw();
	$("#cell").textContent = show(shown[where.get(cursor)]);
});
const redraw = () => { colors(); draw(); };
addEventListener("resize", () => draw());
document.addEventListener("theme", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

/* --- where frames come from --- */

let source = null, stale = false, asked = 0;
const say = s => { $("#state").textContent = s; };

/* The figures are the server's to draw: the page asks for them again, not too often. */
const refresh = async () => {
	if (!stale || Date.now() - asked < 10000 || document.hidden) return;
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
		list();
		open.forEach(id => { const e = document.getElementById(id); if (e) $("details", e).open = true; });
	} catch { stale = true; }
};

const begin = all => {
	d = all;
	slots = new Map();
	plan = null;
	sums = [[0, 0, 0]];
	founded = -1;
	logged = "";
	/* With many parents' lines nothing else would be seen. */
	if (!links.dataset.chosen) links.value = d.near?.links.length ? "near" : "up";
	learn(d.frames);
	add_up();
	legend();
};
links.addEventListener("change", () => { links.dataset.chosen = "1"; });

const take = m => {
	if (m.all) begin(m.all);
	learn(m.frames || []);
	for (const f of m.frames || []) d.frames.push(f);
	for (const p of m.loss || []) d.loss.push(p);
	for (const e of m.events || []) d.events.push(e);
	if (m.phases) d.phases = m.phases;
	if (m.near) {
		d.near = m.near;
		legend();
	}
	add_up();
	stale = true;
	seek(follow ? d.frames.length - 1 : at);
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
	begin(read($("#frames")) || d);
	seek(d.frames.length - 1);
}
})();
