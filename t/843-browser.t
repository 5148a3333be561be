#!/bin/sh
# The page of moe-view in a browser: quiet, alone, readable, and to be had by keyboard.
. t/lib.sh
root=$PWD
cd "$T" || exit 1
browser=$(command -v chromium || command -v chromium-browser) || skip_all "no chromium"
perl -MJSON::PP -e 1 2>"$T/err" || skip_all "no JSON::PP of perl"
. "$root/t/view.sh"
make_run run 1
words 4000 1 >text
moe-train --dim 16 --layers 2 --heads 2 --hidden 16 --experts 4 --tiers 1,3 --seq 16 --batch 4 \
	--steps 40 --census-every 10 --trace --trace-every 10 -o ties text 2>"$T/err"
printf 'id,verdict,why,command\nM1,reproduced,so,ls\nM2,not reproduced,,ls\n' >claims.csv
moe-view -o run.html --table claims.csv run
moe-view -o ties.html ties

# browse PAGE OPTION...: its elements after a while, the console's lines in console
browse() {
	local page=$1
	shift
	timeout 60 "$browser" --headless --no-sandbox --disable-gpu --no-first-run \
		--disable-background-networking --disable-component-update \
		--user-data-dir="$T/profile" --enable-logging=stderr --virtual-time-budget=2000 \
		"$@" --dump-dom "file://$T/$page" 2>console
}
# act PAGE SCRIPTS OPTION...: what the scripts put into the list `out`, a line each
cat >before <<'END'
<script>
(() => {
const out = [], $ = s => document.querySelector(s), $$ = s => [...document.querySelectorAll(s)];
const key = (e, k) => e.dispatchEvent(new KeyboardEvent("keydown", {key: k, cancelable: true}));
END
cat >after <<'END'
const p = document.createElement("pre");
p.id = "acted";
p.textContent = out.join("\n");
document.body.append(p);
})();
</script>
END
act() {
	local page=$1 scripts=$2
	shift 2
	cat "$page" before $scripts after >act.html
	browse act.html "$@" | sed -n '/<pre id="acted">/,/<\/pre>/p' | sed 's/<[^>]*>//g; s/ $//'
}
# told WANT NAME: the lines that came
told() {
	same got "$1" "$2"
	cmp -s got "$1" || sed 's/^/# /' got >&2
}
browse run.html >dom
is "$(grep -c 'CONSOLE' console)" 0 "nothing on the console"
ok "the experts are drawn" grep -q 'aria-label="At step 120: 4 experts live;' dom
browse ties.html >dom
is "$(grep -c 'CONSOLE' console)" 0 "nor with a trace and keys"

cat >keys.js <<'END'
const line = s => s.replace(/\n/g, "; ");
const box = $("#loss .chart.wide");
key(box, "Home");
for (let i = 0; i < 50; i++) key(box, "ArrowRight");
out.push(line($("#loss [aria-live]").textContent));
const sort = $("#experts .sort");
for (const by of "0123") {
	sort.value = by;
	sort.dispatchEvent(new Event("change"));
	out.push($$("#experts .wide .panel")[0].textContent.trim().split(/\s+/).join(" "));
}
key($("#family .chart.wide"), "Home");
key($("#family .chart.wide"), "ArrowUp");
out.push(line($("#family [aria-live]").textContent));
$("#reset").click();
out.push($("#cells").getAttribute("aria-label"));
key($("#cells"), "ArrowRight");
key($("#cells"), "ArrowRight");
out.push(line($("#cell").textContent));
$("#scrub").value = 1;
$("#scrub").dispatchEvent(new Event("input"));
const tiles = ["step", "living", "births", "deaths", "replaced"];
out.push(tiles.map(n => $(`[data-tile=${n}]`).textContent).join(" "));
out.push(...$$("#log li").map(l => l.textContent));
$("#play").click();
out.push($("#play").textContent);
$("#play").click();
out.push($("#play").textContent);
const [first, second, again] = [0, 1, 0].map(i => {
	$("#scrub").value = i;
	$("#scrub").dispatchEvent(new Event("input"));
	return $("#track").toDataURL();
});
out.push(first === second ? "the mark stays" : "the mark moves");
out.push(first === again ? "the curves stay" : "the curves move");
END
# Colours as they are painted: letters 4.5 times, lines and cells 3 times as bright as their ground.
cat >contrast.js <<'END'
const probe = document.body.appendChild(document.createElement("i"));
const light = name => {
	probe.style.color = name[0] === "#" ? name : `var(--${name})`;
	const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g).map(x => {
		const s = x / 255;
		return s <= .03928 ? s / 12.92 : ((s + .055) / 1.055) ** 2.4;
	});
	return .2126 * r + .7152 * g + .0722 * b;
};
const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
let pairs = 0;
const need = (theme, least, names, grounds) => {
	for (const a of names)
		for (const b of grounds) {
			pairs++;
			const r = ratio(a, b);
			if (!(r >= least)) out.push(`${theme}: ${a} on ${b}: ${r.toFixed(2)}`);
		}
};
const series = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"], bands = ["b1", "b2", "b3", "b4"];
for (const theme of ["light", "dark"]) {
	document.documentElement.dataset.theme = theme;
	need(theme, 4.5, ["ink", "soft"], ["bg", "raised", ...bands]);
	need(theme, 4.5, ["ink"], ["mark"]);
	need(theme, 4.5, ["accent", "yes", "no", "open", "d0", "d1", ...series], ["bg"]);
	need(theme, 4.5, ["bg"], ["accent", "ink"]);
	need(theme, 3, [...series, "d0", "d1", "d2"], bands);
	need(theme, 3, ["focus", "ring", "d2", "d4"], ["bg"]);
	need(theme, 3, ["healthy", "starved", "unfit", "newborn"], ["bg"]);
	need(theme, 4.5, ["#12151a"], ["healthy", "over", "starved", "unfit", "newborn"]);
	out.push(`${theme}: ${ratio("bg", "ink") > 10 ? "black and white" : "grey"}`);
}
out.push(pairs > 100 ? "many pairs" : `${pairs} pairs`);
document.documentElement.removeAttribute("data-theme");
out.push("by itself " + (light("bg") > light("ink") ? "light" : "dark"));
END
# Everything that does something can be reached by Tab, has a name, and shows the focus.
cat >reach.js <<'END'
const seen = e => e.checkVisibility({visibilityProperty: true});
const all = $$("button, select, input, a[href], summary, [tabindex], .chart, .scroll, #cells, #log")
	.filter(seen);
const name = e => e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") ||
	e.textContent.trim() || (e.id && $(`label[for="${e.id}"]`)?.textContent);
const begin = e => e.outerHTML.slice(0, 60);
out.push("without a name: " + all.filter(e => !name(e)).map(begin).join(" "));
out.push("out of reach: " + all.filter(e => {
	e.focus();
	return e.tabIndex < 0 || document.activeElement !== e;
}).map(begin).join(" "));
out.push("out of order: " + $$("[tabindex]").filter(e => e.tabIndex > 0).length);
out.push("pictures without a title: " + $$("svg").filter(s => !s.querySelector("title")).length);
out.push("links to nowhere: " + $$("a[href^='#']").filter(a => !$(a.hash)).length);
out.push("requests: " + performance.getEntriesByType("resource")
	.filter(e => !/^(data|blob):/.test(e.name)).length);
out.push(all.length > 30 ? "many" : all.length);
out.push("wider than the screen: " + (document.documentElement.scrollWidth - innerWidth > 0));
out.push(["narrow", "wide"].map(c => getComputedStyle($("#loss ." + c)).display).join(" "));
END
# Values of the figures that have no steps.
cat >ties.js <<'END'
const what = /first tier \d, second tier \d|slots \d and \d|expert \d/g;
for (const kind of ["flow", "web", "map"]) {
	const box = $(`#${kind} .chart.wide`), say = $(`#${kind} [aria-live]`), heard = new Set();
	key(box, "Home");
	for (let x = 0; x < 100; x++) {
		key(box, "ArrowRight");
		for (let y = 0; y < 42; y++) {
			key(box, "ArrowDown");
			for (const m of say.textContent.matchAll(what)) heard.add(m[0]);
		}
	}
	out.push(kind, ...[...heard].sort());
}
END

cat >count.js <<'END'
out.push(["living", "births", "deaths"].map(n => $(`[data-tile=${n}]`).textContent).join(" "));
$("#scrub").value = 0;
$("#scrub").dispatchEvent(new Event("input"));
out.push(["living", "births", "deaths"].map(n => $(`[data-tile=${n}]`).textContent).join(" "));
END

cat >keys <<'END'
loss (nats per token): step 60; training: 2.5; validation: 2.7
0 1 4
0 1 4
0 1 4
0 4 1
layer 0: step 0; expert 0, layer 0, slot 0: a founder, lives
At step 20: 4 experts live; 2 healthy, 0 overloaded, 0 starved, 2 unfit, 0 newborn.
expert 1: unfit; layer 0, slot 1; a founder; load 0.5 fair shares; effective 0.03
40 4 1 1 1
40 expert 4 born in layer 0, slot 1, child of 0 (replace)
40 expert 1 died in layer 0, slot 1 (replace)
Pause
Play
the mark moves
the curves stay
END
printf '%s\n' 'light: black and white' 'dark: black and white' 'many pairs' >contrast
cat >reach <<'END'
without a name:
out of reach:
out of order: 0
pictures without a title: 0
links to nowhere: 0
requests: 0
many
wider than the screen: false
END
{
	echo flow
	printf 'first tier %d, second tier %d\n' 0 1 1 0 1 1
	echo web
	for i in 0 1 2 3; do
		printf "slots $i and %d\n" 0 1 2 3
	done
	echo map
	printf 'expert %d\n' 0 1 2 3 4 5 6 7
} >values
act run.html 'keys.js contrast.js reach.js' --window-size=1280,900 >got
{ cat keys contrast; echo by itself light; cat reach; echo none block; } >want
told want "keys read values, rows are sorted, the past is played, all is bright enough and in reach"
is "$(grep -c 'CONSOLE' console)" 0 "still nothing on the console"
act run.html 'contrast.js reach.js' --window-size=500,844 \
	--blink-settings=preferredColorScheme=0 >got
{ cat contrast; echo by itself dark; cat reach; echo block none; } >want
told want "on a phone, dark as its owner prefers"
act ties.html 'ties.js reach.js' --window-size=500,844 >got
{ cat values reach; echo block none; } >want
told want "flows, pairs and maps tell their values, and fit"
make_idle idle
idle_events >idle/events.csv
moe-view -o idle.html idle
act idle.html count.js >got
printf '%s\n' '17 2 1' '16 0 0' >want
told want "founders and births less deaths are who lives"

# What the page may not do: its own policy refuses it, and the console tells.
sed 's|<main>|<img src="http://elsewhere.invalid/x">&|' run.html >loose.html
browse loose.html >out
ok "a request from the page is refused" \
	grep -q 'CONSOLE.*elsewhere.*Content Security Policy' console
done_testing
