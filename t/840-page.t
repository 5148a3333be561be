#!/bin/sh
# The page of moe-view: its figures hold what the tables say, and nothing in it reaches out.
. t/lib.sh
root=$PWD
cd "$T" || exit 1
perl -MJSON::PP -e 1 2>"$T/err" || skip_all "no JSON::PP of perl"

. "$root/t/view.sh"
for seed in 1 2 3; do make_run run-$seed $seed; done
cat >claims.csv <<'END'
id,figure,verdict,why
M1,1.5,reproduced,"a <b>, and more"
M2,2,not reproduced,
END

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

# What a page says of recipes it knows, and not of others.
says_of() {
	mkdir -p lede
	cp run-1/loss.csv lede/
	printf "$1" >lede/recipe
	moe-view -o lede.html lede
	sed -n 's/^<p class="lede">\(.*\)<\/p>$/\1/p' lede.html
}
is "$(says_of 'seed 1\n')" "" "an unknown recipe says nothing"
is "$(says_of 'task classify\nlifecycle none\n')" "A classifier learnt to tell classes apart. \
Nobody is born and nobody dies: the pool of experts is fixed." "a classifier"
is "$(says_of 'task lm\nlayers 1\nvocab 512\nlifecycle none\nat-shift prune\n')" "A language model \
of 1 layer learnt to predict a text's next token. When the text changes, who lies idle is pruned." \
	"a pruned pool"
is "$(says_of 'task lm\nlayers 2\nvocab 256\nexperts 4,8\ntop-k 1\nlifecycle <b>\n')" "A language \
model of 2 layers learnt to predict a text's next byte. In each layer a router sends every byte to \
1 of its <em>experts</em> (4,8 of them, layer by layer), small networks of which only those chosen \
compute." "other layers"

# --- markup ---
is "$(grep -c '<b>law\|<i>&\|a <b>' one.html)" 0 "markup in names is escaped"
is "$(tr '>' '\n' <one.html | grep -c '</script')" "$(tr '>' '\n' <one.html | grep -c '<script')" \
	"no name ends a script"
ok "the recipe is there" grep -q '&lt;i&gt;&amp;&quot;x&quot;' one.html
ok "a table's verdicts" grep -q '<td class="no">not reproduced</td>' one.html
mkdir market && cp claims.csv market/verdicts.csv
moe-view -o verdicts.html --table market/verdicts.csv run-1
is "$(grep -c '<h2>Verdicts: market</h2>' verdicts.html) $(grep -c '>Verdicts: market</a>' \
	verdicts.html)" "1 1" "verdicts are headed by what they are about"
is "$(grep -c 'Up to step' one.html)" 0 "a page that stays has no time of its own"
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
# Runs of different models: other layers, other experts, other columns.
mkdir wide
awk 'BEGIN {
	print "expert,usage,step,layer"
	for (i = 5; i <= 50; i += 5)
		for (k = 0; k < 3; k++)
			for (e = 0; e < 3 + k; e++) print e "," e / 10 "," i "," k
}' >wide/experts.csv
printf 'step,loss,text\n1,9,a\n50,8,b\n' >wide/loss.csv
ok "runs of different models" moe-view -o models.html run-1 wide part
is "$(grep -ci '"[^"]*\bnan\b\|[0-9"]nan\|>-\?inf<\|="-\?inf' models.html)" 0 \
	"have no number that is none"
script models.html population | as_csv >got
ok "and a curve each" grep -q '^"living experts, all layers",wide,50,12,' got
ok "a run without a recipe beside one with" grep -q '<h1>run-1 · wide · part</h1>' models.html
for table in 'step,loss\n1,5\n2,4\n' 'step,usage\n1,.5\n1,.25\n2,.5\n' 'layer,step\n0,1\n' \
	'step,event\n1,birth\n2,death\n' 'step,layer,event,expert\n1,0,birth,7\n' \
	'step,slot\n1,x\n2,\n' 'step,loss\n2,1\n1,2\nz,3\n' 'step,tier,expert\n1,1e9,1e30\n' \
	'tsne_x,tsne_y\n1,2\n' 'tsne_x,tsne_y\n1,\n3,4\n' 'expert,pca_x\n1,2\n' \
	'layer,rank,expert\n0,0,1\n0,1,2\n' \
	'step,layer,expert,parent\n1,0,0,1\n1,0,1,0\n2,0,0,1\n2,0,1,0\n'; do
	printf "$table" >some.csv
	ok "what there is of $table" moe-view -o some.html some.csv
	ok "is shown, and what is not told" grep -q '<section id="missing"' some.html
	is "$(grep -c '[">,]-\?nan[",<]\|[">,]-\?inf[",<]' some.html)" 0 \
		"without a number that is none"
done
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

done_testing
