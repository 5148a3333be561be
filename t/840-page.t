#!/bin/sh
# The page of moe-view: its figures hold what the tables say, and nothing in it reaches out.
. t/lib.sh
root=$PWD
cd "$T" || exit 1
perl -MJSON::PP -e 1 2>"$T/err" || skip_all "no JSON::PP of perl"

# Two layers, 6 steps of the census; in layer 0 expert 1 gives way to 4, a child of 0.
make_run() {
	mkdir -p "$1"
	printf 'lr 0.001\nseed %s\nname <i>&"x"\nlifecycle market\ngrace 50\n' "$2" >"$1/recipe"
	awk -v seed="$2" 'BEGIN {
		print "step,domain,loss,val_loss"
		for (i = 1; i <= 120; i++)
			printf "%d,%s,%.9g,%s\n", i, (i <= 60 ? "</script><b>law" : "code"), \
				3 - i / 100 + seed / 10, (i % 20 ? "" : 3 - i / 200)
	}' >"$1/loss.csv"
	awk 'BEGIN {
		print "step,layer,slot,expert,parent,born,demand,effective,left"
		for (i = 20; i <= 120; i += 20)
			for (k = 0; k < 4; k++) {
				e = (k == 1 && i > 40) ? 4 : k
				printf "%d,%d,%d,%d,%d,%d,%.9g,%.9g,%d\n", i, (k > 1), k % 2, e, \
					(e == 4 ? 0 : -1), (e == 4 ? 40 : 0), \
					(k % 2 ? 0.25 : 0.75), i / 1000 + k / 100, 3 - k
			}
	}' >"$1/experts.csv"
	cat >"$1/events.csv" <<-'END'
		step,layer,slot,event,expert,parent,value,threshold,cause,left
		20,0,1,keep,1,,0.1,0.05,fit,0
		40,0,1,death,1,,0.1,0.2,replace,1
		40,0,1,birth,4,0,0.1,0.2,replace,0
		60,,,shift,,,,,code,0
	END
	printf 'step,layer,gini\n20,0,0.25\n20,1,0.5\n40,0,0.125\n40,1,0\n' >"$1/layers.csv"
}
for seed in 1 2 3; do make_run run-$seed $seed; done
cat >claims.csv <<'END'
id,figure,verdict,why
M1,1.5,reproduced,"a <b>, and more"
M2,2,not reproduced,
END

# script PAGE ID: the JSON that stands in the element of this id, or behind it
script() {
	perl -0777 -ne 'BEGIN { $id = shift @ARGV }
		/<script type="application\/json" id="\Q$id\E">(.*?)<\/script>/s ? print $1 :
		/id="\Q$id\E".*?<script type="application\/json">(.*?)<\/script>/s && print $1' \
		"$2" "$1"
}

# as_csv: a figure's JSON as moe-view --csv would write it, by another program
as_csv() {
	perl -MJSON::PP -0777 -ne '
		sub field { my $v = $_[0] // ""; $v =~ /[,"\r\n]/ or $v =~ /^#/ or return $v;
			$v =~ s/"/""/g; "\"$v\"" }
		print "panel,series,step,value,low,high,label\n";
		for my $p (@{decode_json($_)->{panels}}) {
			my $row = sub { print join(",", map { field($_) } $p->{title}, @_), "\n" };
			for my $s (@{$p->{series}}) {
				for (0 .. $#{$s->{x}}) {
					$row->($s->{name}, $s->{x}[$_], $s->{y}[$_], $s->{lo}[$_],
						$s->{hi}[$_], $s->{label}[$_]);
				}
			}
			my $h = $p->{heat} or next;
			my $n = $#{$h->{x}};
			for my $r (0 .. $#{$h->{name}}) {
				for my $c (0 .. $n - 1) {
					my $v = $h->{v}[$r * $n + $c] // next;
					$row->($h->{name}[$r], $h->{x}[$c + 1], $v, "", "", "");
				}
			}
		}'
}

ok "a page of one run" moe-view -o one.html --table claims.csv run-1
ok "a page of three" moe-view -o three.html run-1 run-2 run-3
moe-view -o again.html --table claims.csv run-1
same again.html one.html "the same bytes again"
for page in one three; do
	runs=run-1
	[ $page = one ] || runs="run-1 run-2 run-3"
	for kind in loss events population experts fitness family routing; do
		script $page.html $kind | as_csv >got
		moe-view --plot $kind --csv $runs >want
		same got want "$page: the page's numbers of $kind are those of --csv"
	done
done

# The frames that are played, against the tables.
script one.html frames >frames
perl -MJSON::PP -0777 -ne '$d = decode_json($_);
	for $f (@{$d->{frames}}) {
		for (@{$f->{rows}}) {
			print join(",", $f->{step}, @$_[0 .. 4], $_->[5] / 2, $_->[6]), "\n";
		}
	}' frames >got
sed '1d; s/,[0-3]$//' run-1/experts.csv >want
same got want "each row of the census is played"
perl -MJSON::PP -0777 -ne '$d = decode_json($_);
	print join(",", map { defined ? $_ : "" } @$_), "\n" for @{$d->{events}};
	print join(",", %{$_->{threshold}}, ""), "\n" for @{$d->{frames}}[0, 1];
	print scalar @{$d->{loss}}, " $d->{grace} $d->{value}\n"' frames >got
printf '%s\n' 40,0,1,death,1,,replace 40,0,1,birth,4,0,replace 60,,,shift,,,code 0,0.05, 0,0.2, \
	"120 50 effective" >want
same got want "events, thresholds, losses"

# --- markup ---
is "$(grep -c '<b>law\|<i>&\|a <b>' one.html)" 0 "markup in names is escaped"
is "$(tr '>' '\n' <one.html | grep -c '</script')" "$(tr '>' '\n' <one.html | grep -c '<script')" \
	"no name ends a script"
ok "the recipe is there" grep -q '&lt;i&gt;&amp;&quot;x&quot;' one.html
ok "a table's verdicts" grep -q '<td class="no">not reproduced</td>' one.html
is "$(grep -c 'class="differs"' three.html)" 1 "what differs in the recipes is marked"
is "$(grep -o '<script src\|rel="style\|@import\|url(\|https\?://[a-z]*' one.html | sort -u)" \
	"http://www" "nothing is loaded: the only address names SVG"

# --- what is there is shown ---
mkdir part
head -n 40 run-1/loss.csv >part/loss.csv
printf '41,code,2' >>part/loss.csv
ok "a run that was killed within a line" moe-view -o part.html part
says 'part/loss.csv: ends within a line' "is told"
ok "the page says so" grep -q 'part/loss.csv: ends within a line' part.html
ok "and what is not drawn" grep -q '<li>Fitness of each expert: there is no part/experts.csv' \
	part.html
printf 'iteration,perplexity\n1,2\n' >other.csv
fails 1 "a table of nothing" moe-view -o out.html other.csv
fails 1 "a --table that is not there" moe-view -o out.html --table nowhere run-1
says 'nowhere: No such file' "is told"
fails 1 "full disk" moe-view -o /dev/full run-1
says 'No space left' "is told"
fails 2 "--csv without --plot" moe-view --csv -o out.html run-1
fails 2 "--table with --plot" moe-view --plot loss --table claims.csv run-1
printf 'step,loss\n' >none.csv
ok "no rows at all" moe-view -o none.html none.csv

# --- in a browser ---
browser=$(command -v chromium || command -v chromium-browser) || {
	echo "# no chromium: the page is not run" >&2
	done_testing
}
# browse PAGE: its elements after a while, the console's lines in console
browse() {
	timeout 60 "$browser" --headless --no-sandbox --disable-gpu --no-first-run \
		--disable-background-networking --disable-component-update \
		--user-data-dir="$T/profile" --enable-logging=stderr --virtual-time-budget=2000 \
		--dump-dom "file://$T/$1" 2>"$T/console"
}
browse one.html >dom
is "$(grep -c 'CONSOLE' console)" 0 "nothing on the console"
ok "the experts are drawn" grep -q 'aria-label="At step 120: 4 experts live;' dom

# What a reader does: keys, sorting, theme, playing; contrast of the colours.
cat >act.js <<'END'
(() => {
	const out = [], $ = s => document.querySelector(s);
	const key = (e, k) =>
		e.dispatchEvent(new KeyboardEvent("keydown", {key: k, cancelable: true}));
	const box = $("#loss .chart.wide");
	key(box, "Home");
	for (let i = 0; i < 50; i++) key(box, "ArrowRight");
	out.push($("#loss [aria-live]").textContent.replace(/\n/g, "; "));
	const sort = $("#experts .sort");
	sort.value = "1";
	sort.dispatchEvent(new Event("change"));
	const names = () => [...document.querySelectorAll("#experts .wide .panel")][0];
	out.push([...names().querySelectorAll(".row")].map(t => t.textContent).join(" "));
	key($("#family .chart.wide"), "Home");
	key($("#family .chart.wide"), "ArrowUp");
	out.push($("#family [aria-live]").textContent.replace(/\n/g, "; "));
	$("#reset").click();
	out.push($("#cells").getAttribute("aria-label"));
	const light = v => {
		const c = v.trim().match(/^#(..)(..)(..)$/) ? v.trim().slice(1).match(/../g) :
			[...v.trim().slice(1)].map(x => x + x);
		const [r, g, b] = c.map(x => {
			const s = parseInt(x, 16) / 255;
			return s <= .03928 ? s / 12.92 : ((s + .055) / 1.055) ** 2.4;
		});
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
	const dim = [];
	for (const theme of ["light", "dark"]) {
		document.documentElement.dataset.theme = theme;
		const s = getComputedStyle(document.documentElement);
		const v = n => light(s.getPropertyValue("--" + n));
		for (const n of ["ink", "soft"])
			for (const ground of ["bg", "card", "b1", "b2", "b3", "b4"])
				if (ratio(v(n), v(ground)) < 4.5)
					dim.push(`${theme} ${n} on ${ground}`);
		for (const ground of ["bg", "card"])
			if (ratio(v("accent"), v(ground)) < 4.5)
				dim.push(`${theme} links on ${ground}`);
		for (const n of ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "focus", "ring"])
			if (ratio(v(n), v("card")) < 3) dim.push(`${theme} ${n}`);
		for (const n of ["healthy", "over", "starved", "newborn"])
			if (ratio(v(n), light("#12151a")) < 4.5)
				dim.push(`${theme} text on ${n}`);
	}
	out.push("too dim: " + dim.join(", "));
	const name = e => e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") ||
		e.textContent.trim() || (e.id && $(`label[for="${e.id}"]`)?.textContent);
	const all = document.querySelectorAll(
		"button, select, input, a, summary, canvas, [tabindex]");
	out.push("without a name: " + [...all].filter(e => !name(e)).length);
	out.push("requests: " + performance.getEntriesByType("resource")
		.filter(e => !/^(data|blob):/.test(e.name)).length);
	const p = document.createElement("pre");
	p.id = "acted";
	p.textContent = out.join("\n");
	document.body.append(p);
})();
END
{
	cat one.html
	echo '<script>'
	cat act.js
	echo '</script>'
} >act.html
browse act.html | sed -n '/<pre id="acted">/,/<\/pre>/p' |
	sed 's/<[^>]*>//g; s/ $//' | sed '$!b; /^$/d' >got
cat >want <<'END'
loss (nats per token): step 60; training: 2.5; validation: 2.7
0 1 4
layer 0: step 0; expert 0, layer 0, slot 0: a founder, lives
At step 20: 4 experts live; 2 healthy, 0 overloaded, 0 starved, 2 unfit, 0 newborn.
too dim:
without a name: 0
requests: 0
END
same got want "keys read values, rows are sorted, the past is played, all can be seen and named"
[ -s "$T/.failed" ] && sed 's/^/# /' got >&2
is "$(grep -c 'CONSOLE' console)" 0 "still nothing on the console"

# What the page may not do: its own policy refuses it, and the console tells.
sed 's|<main>|<img src="http://elsewhere.invalid/x">&|' one.html >loose.html
browse loose.html >out
ok "a request from the page is refused" \
	grep -q 'CONSOLE.*elsewhere.*Content Security Policy' console
done_testing
