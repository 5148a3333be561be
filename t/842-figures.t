#!/bin/sh
# Every figure of a page holds what the tables of its runs say, computed here from those tables, and
# its curves are drawn where those numbers are.
. t/lib.sh
root=$PWD
cd "$T" || exit 1
perl -MJSON::PP -e 1 2>"$T/err" || skip_all "no JSON::PP of perl"
. "$root/t/view.sh"
for seed in 1 2 3; do make_run run-$seed $seed; done
make_run tall 1
make_run merged 1

# show FIELDS: a line of them, numbers with six digits
cat >Show.pm <<'END'
sub show {
	my $number = qr/^-?[\d.]+(e[-+]?\d+)?$/;
	join("|", map { !defined $_ ? "" : /$number/ ? sprintf("%.6g", $_) : $_ } @_) . "\n";
}
1;
END
PERL5LIB=$T
export PERL5LIB

# figure.pl PAGE KIND: "panel|series|x|y|low|high", sorted, with six digits
cat >figure.pl <<'END'
use JSON::PP;
use Show;
my ($page, $kind) = @ARGV;
open F, "<", $page;
local $/;
<F> =~ /id="$kind".*?<script type="application\/json">(.*?)<\/script>/s or exit 1;
my @out;
for my $p (@{decode_json($1)->{panels}}) {
	for my $s (@{$p->{series}}) {
		push @out, show($p->{title}, $s->{name}, $s->{x}[$_], $s->{y}[$_],
			$s->{lo}[$_], $s->{hi}[$_]) for 0 .. $#{$s->{x}};
	}
	my $h = $p->{heat} or next;
	my $n = $#{$h->{x}};
	for my $r (0 .. $#{$h->{name}}) {
		for my $c (0 .. $n - 1) {
			my $v = $h->{v}[$r * $n + $c] // next;
			my ($from, $x) = @{$h->{x}}[$c, $c + 1];
			$x = ($from + $x) / 2 if $h->{middle};
			push @out, show($p->{title}, $h->{name}[$r], $x, $v, "", "");
		}
	}
}
print sort @out;
END

# tables.pl KIND RUN...: the same from the tables alone; of several runs mean and mean -+ sd
cat >tables.pl <<'END'
use List::Util qw(sum max);
use Show;
sub table {
	open my $f, "<", $_[0] or return;
	my @names = split /,/, <$f> =~ s/\n//r;
	map { my %r; @r{@names} = split /,/, s/\n//r, -1; \%r } <$f>;
}
my ($kind, @runs) = @ARGV;
my @out;
my $several = @runs > 1;
# put PANEL SERIES X Y...: the values of the runs at one point
sub put {
	my ($panel, $series, $x, @y) = @_;
	return push @out, show($panel, $series, $x, $y[0], "", "") if !$several;
	my $mean = sum(@y) / @y;
	my $sd = sqrt(sum(map { ($_ - $mean) ** 2 } @y) / (@y - 1));
	push @out, show($panel, $series, $x, $mean, $mean - $sd, $mean + $sd);
}
my @loss = map { [table("$_/loss.csv")] } @runs;
my @census = table("$runs[0]/experts.csv");
my @events = table("$runs[0]/events.csv");
my %steps = map { $_->{step} => 1 } @census;
my @steps = sort { $a <=> $b } keys %steps;
my $last = max(map { $_->{step} } @{$loss[0]});
my (%demand, %living);
for (@census) {
	$demand{$_->{step}, $_->{layer}} += $_->{demand};
	$living{$_->{step}, $_->{layer}}++;
}
if ($kind eq "loss") {
	for my $i (0 .. $#{$loss[0]}) {
		my $x = $loss[0][$i]{step};
		put("loss (nats per token)", "training", $x, map { $_->[$i]{loss} } @loss);
		put("loss (nats per token)", "validation", $x, map { $_->[$i]{val_loss} } @loss)
			if $loss[0][$i]{val_loss} ne "";
	}
} elsif ($kind eq "experts") {
	put("layer $_->{layer}", $_->{expert}, $_->{step},
		$_->{demand} / $demand{$_->{step}, $_->{layer}} * $living{$_->{step}, $_->{layer}})
		for @census;
} elsif ($kind eq "fitness") {
	my $what = "effective fitness";
	put("layer $_->{layer}, $what", "expert $_->{expert}", $_->{step}, $_->{effective})
		for @census;
	my %seen;
	$_->{threshold} ne "" && !$seen{$_->{step}, $_->{layer}}++ &&
		put("layer $_->{layer}, $what", "threshold", $_->{step}, $_->{threshold})
		for @events;
} elsif ($kind eq "vitality") {
	put("layer $_->{layer}, vitality", "expert $_->{expert}", $_->{step}, $_->{vitality})
		for @census;
} elsif ($kind eq "population") {
	for my $k (0, 1) {
		put("living experts", "layer $k", $_, ($living{$_, $k}) x @runs) for @steps;
	}
	for my $what ("birth", "death") {
		my $n = 0;
		my $like = $what eq "death" ? "death|merge" : $what;
		put("born and died, in all", $what . "s", 0, (0) x @runs);
		put("born and died, in all", $what . "s", $_->{step}, (++$n) x @runs)
			for grep { $_->{event} =~ /^($like)$/ } @events;
		put("born and died, in all", $what . "s", $last, ($n) x @runs);
	}
} elsif ($kind eq "routing") {
	put("Gini coefficient of the load", "layer $_->{layer}", $_->{step}, ($_->{gini}) x @runs)
		for table("$runs[0]/layers.csv");
} elsif ($kind eq "tiers") {
	my %share;
	$share{$_->{layer}, $_->{tier}, $_->{step}} +=
		$_->{demand} / $demand{$_->{step}, $_->{layer}} for @census;
	for (sort keys %share) {
		my ($layer, $tier, $step) = split /$;/;
		put("layer $layer, share of the tokens", "tier $tier", $step, $share{$_});
	}
} elsif ($kind eq "family") {
	my (%born, %parent, %end, %layer, %dead);
	for (@census) {
		$layer{$_->{expert}} = $_->{layer};
		$born{$_->{expert}} = $_->{born};
		$parent{$_->{expert}} = $_->{parent};
		$end{$_->{expert}} = $last;
	}
	$_->{event} eq "death" and $end{$_->{expert}} = $_->{step} for @events;
	# A parent, then its children; there is one generation here.
	for my $k (0, 1) {
		my @order;
		my @all = sort { $a <=> $b } keys %layer;
		for my $top (grep { $layer{$_} == $k && $parent{$_} < 0 } @all) {
			push @order, $top, grep { $parent{$_} == $top } @all;
		}
		my %row = map { $order[$_] => $_ } 0 .. $#order;
		push @out, show("layer $k", "", $born{$_}, $row{$_}, $row{$parent{$_}}, $end{$_})
			for @order;
	}
}
print sort @out;
END

moe-view -o one.html run-1
moe-view -o three.html run-1 run-2 run-3
for kind in loss experts fitness population routing family; do
	perl figure.pl one.html $kind >got
	perl tables.pl $kind run-1 >want
	ok "the tables tell of $kind" test -s want
	same got want "one run: $kind"
done
perl figure.pl three.html loss >got
perl tables.pl loss run-1 run-2 run-3 >want
same got want "three runs: means and standard deviations of the loss"

# Tiers and vitality, which the first runs have not.
awk -F, -v OFS=, 'NR == 1 { print $0, "tier", "vitality"; next } { print $0, $3 % 2, $1 / 200 }' \
	run-1/experts.csv >tall/experts.csv
moe-view -o tall.html tall
for kind in tiers vitality; do
	perl figure.pl tall.html $kind >got
	perl tables.pl $kind tall >want
	same got want "$kind"
done
sed '3s/death/merge/' run-1/events.csv >merged/events.csv
moe-view -o merged.html merged
perl figure.pl merged.html population >got
perl tables.pl population merged >want
same got want "who is merged has died"

# Births, deaths and replacements: as many as there are, where they are.
perl figure.pl one.html events >got
is "$(awk -F'|' '/^in each [0-9]/ { n += $4 } END { print n }' got)" 1 "a bar for the replacement"
is "$(grep '^by layer' got)" "by layer||40|0||" "at its step and layer"
is "$(grep -c '^in each phase||.*|[01]||' got)" 2 "and counted in each phase"

# --- what happened, in sentences ---
mkdir back
awk 'BEGIN {
	print "step,domain,loss"
	for (i = 1; i <= 120; i++) {
		if (i <= 30) v = 4 - i / 20
		else if (i <= 40) v = 2.5 - (i - 30) / 40
		else if (i <= 80) v = 3
		else v = 4.004 - (i - 80) / 10
		printf "%d,%s,%.9g\n", i, (i > 40 && i <= 80 ? "b" : "a"), v
	}
}' >back/loss.csv
printf '%s\n' 'task lm' 'vocab 256' 'layers 1' 'experts 4' 'top-k 2' 'lifecycle market' \
	'interval 20' 'steps 200' >back/recipe
awk 'BEGIN {
	print "step,layer,slot,expert,parent,born,demand,left"
	for (i = 20; i <= 120; i += 20)
		for (k = 0; k < 4; k++) {
			e = k == 3 && i > 60 ? 5 : k == 1 && i > 20 ? 4 : k
			born = e == 5 ? 60 : e == 4 ? 20 : 0
			demand = k == 2 ? 0.5 : k == 1 ? 0.1 : k ? 0.15 : 0.25
			printf "%d,0,%d,%d,%d,%d,%g,%d\n", i, k, e, (e > 3 ? 0 : -1), born, \
				demand, 3 - k
		}
}' >back/experts.csv
cat >back/events.csv <<'END'
step,layer,slot,event,expert,parent,value,threshold,cause,left
20,0,1,death,1,,,,replace,1
20,0,1,birth,4,0,,,replace,0
60,0,3,death,3,,,,replace,1
60,0,3,birth,5,0,,,replace,0
END
moe-view -o back.html back
sed -n '/id="story"/,/<\/section>/p' back.html | sed 's/<[^>]*>//g; /^$/d' | fold -s -w 90 |
	sed 's/ $//' >got
# The last 20 steps of a are 2.54375 in the mean; ten steps are 2.55 up to 34, 2.5125 up to 35.
# When a is back, ten steps are 2.554 up to 19 and 2.454 up to 20.
cat >want <<'END'
What happened
A language model of 1 layer learnt to predict a text's next byte. In each layer a router
sends every byte to 2 of 4 experts, small networks of which only those chosen compute.
Every 20 steps a market compares what each expert serves with what it costs; the least
fit of a layer may give way to a newborn.
It learnt for 120 of 200 steps, from a, then b (after step 40), then a (after step 80).
The training loss went from 3.95 to 0.95 nats per token (mean of the last 20 steps).
At step 40 the text became b: the loss went from 2.54 to 3.00.
At step 80 the text became a: the loss went from 3.00 to 3.70. When it was left, the loss
was 2.54; it was reached again after 20 steps; the first time it had taken 35.
There were 4 experts in 1 layer at first, 4 so far.
2 times an expert died and a newborn took its place: 1 in a, 1 in b, 0 in a.
Of the 2 newborn 2 lived on.
The largest family descends from expert 0 of layer 0: 2 descendants.
At the last census expert 2 of layer 0 was busiest: it served 2.00 times its fair share
of the tokens. Expert 4 of layer 0 was idlest, with 0.40 of a fair share.
END
same got want "the story"
diff want got | sed 's/^/# /' >&2

# said PATTERN RUN: the line of a run's story that matches
said() {
	moe-view -o said.html "$2"
	sed -n '/id="story"/,/<\/section>/p' said.html | sed 's/<[^>]*>//g' | grep "$1"
}
make_idle idle
is "$(said unused idle)" "Most experts went nearly unused: at the last census 11 of 16 served less \
than a quarter of a fair share of the tokens, and 8 of them none; 1 to 3 of 8 in each layer had a \
fair share or more." "who is idle"
is "$(said unused back)" "" "and nobody where most are not"
is "$(said 'There were' idle)" "There were 16 experts in 2 layers at the first census, 16 at the \
last census." "without events the census counts"
idle_events >idle/events.csv
is "$(said 'There were' idle)" "There were 16 experts in 2 layers at first, 17 in the end." \
	"events count on: 16 and 2 less 1"
sed -i '/^20,1,7,/d' idle/events.csv idle/experts.csv
is "$(said 'There were' idle)" "There were 16 experts in 2 layers at the first census, 15 at the \
last census." "events that do not tell of all are not added up"

mkdir zero
printf 'step,loss,load_balance_weighted,z_weighted,lr\n1,3,0,0,1\n2,2,0,0,1\n' >zero/loss.csv
moe-view -o zero.html zero
ok "terms that are zero are named apart" \
	grep -q 'Zero throughout: load balance, weighted; z loss, weighted\.' zero.html

# --- many points: honest means ---
mkdir long
awk 'BEGIN { srand(7); print "step,domain,loss"
	for (i = 1; i <= 4000; i++) printf "%d,%s,%.9g\n", i, i <= 1010 ? "a" : "b", rand() }' \
	>long/loss.csv
moe-view -o long.html long
perl figure.pl long.html loss >got
# Buckets of ceil(4000 / 150) = 27 steps, begun anew after 1010.
awk -F, 'function flush() {
		if (n) printf "%s|training|%.6g|%.6g|%.6g|%.6g\n", "loss (nats per token)", \
			x / n, y / n, lo, hi
		n = x = y = 0
	}
	NR == 1 { next }
	{
		from = $1 > 1010 ? 1010 : 0
		b = from " " int(($1 - from - 1) / 27)
		if (b != before) flush()
		before = b
		if (!n || $3 < lo) lo = $3
		if (!n || $3 > hi) hi = $3
		n++; x += $1; y += $3
	}
	END { flush() }' long/loss.csv | LC_ALL=C sort >want
same got want "means, least and greatest of 27 steps each, not across a shift"
ok "the page says so" grep -q 'Each point is the mean of 27 steps' long.html

# --- where it is drawn ---
# For each curve the points of its path, put back through the scales of its panel.
cat >drawn.pl <<'END'
use JSON::PP;
local $/;
my $page = <STDIN>;
my ($curves, $points, $off) = (0, 0, 0);
for my $section ($page =~ /(<section class="figure".*?<\/section>)/sg) {
	my ($json) = $section =~ /<script type="application\/json">(.*?)<\/script>/s;
	my $panels = decode_json($json)->{panels};
	for my $svg ($section =~ /(<svg.*?<\/svg>)/sg) {
		my ($from, $to) = $svg =~ /data-x="(\S+) (\S+)"/;
		my @drawn = $svg =~ /(<g class="panel".*?(?=<g class="panel"|<\/svg>))/sg;
		for my $k (0 .. $#drawn) {
			my ($x, $y, $w, $h) = $drawn[$k] =~ /data-box="(\S+) (\S+) (\S+) (\S+)"/;
			my ($lo, $hi) = $drawn[$k] =~ /data-y="(\S+) (\S+)"/;
			my @line = $drawn[$k] =~ /class="\S+ line"[^>]* d="([^"]*)"/g;
			my @series = grep { $_->{look} =~ /line|steps|marked/ && @{$_->{x}} }
				@{$panels->[$k]{series}};
			$off += 1000 if @line != @series;
			for my $i (0 .. $#line) {
				my (@at, $px, $py);
				$curves++;
				while ($line[$i] =~ /([MLHV])(\S+?)(?: (\S+?))?(?=[MLHV]|$)/g) {
					if ($1 eq "H") { $px = $2; next }
					if ($1 eq "V") { $py = $2 } else { ($px, $py) = ($2, $3) }
					push @at, [$px, $py];
				}
				$off += 1000 if @at != @{$series[$i]{x}};
				for (0 .. $#at) {
					my ($vx, $vy) = ($series[$i]{x}[$_], $series[$i]{y}[$_]);
					my $wx = $x + ($vx - $from) / ($to - $from) * $w;
					my $wy = $y + $h * ($hi - $vy) / ($hi - $lo);
					$points++;
					$off++ if abs($wx - $at[$_][0]) > 0.06;
					$off++ if abs($wy - $at[$_][1]) > 0.06;
				}
			}
		}
	}
}
print $curves > 0 && $points > 0 ? "$off" : "nothing";
END
for page in one three tall long; do
	is "$(perl drawn.pl <$page.html)" 0 "$page: each point of a curve is where its numbers are"
done
sed 's/\(class="s0 line"[^>]* d="M[0-9.]* \)/\19/' one.html >bent.html
ok "a point elsewhere would be found" test "$(perl drawn.pl <bent.html)" -gt 0

# Both ends of each scale of y have a tick, so that what is drawn lies between two of them.
cat >ends.pl <<'END'
local $/;
my ($n, $off) = (0, 0);
for my $panel (<STDIN> =~ /(<g class="panel".*?(?=<g class="panel"|<\/svg>))/sg) {
	my ($y, $h) = $panel =~ /data-box="\S+ (\S+) \S+ (\S+)"/;
	next if $panel !~ /class="\S+ line"/;
	for my $end ($y, $y + $h) {
		my @at = grep { abs($_ - 4 - $end) < 0.11 }
			$panel =~ /<text class="u"[^>]*? y="([\d.]+)" text-anchor="end"/g;
		$n++;
		$off++ if !@at;
	}
}
print $n > 20 ? $off : "$n";
END
for page in one three tall; do
	is "$(perl ends.pl <$page.html)" 0 "$page: ticks at both ends of y"
done

# --- traces, keys, maps: beside what other programs make of them ---
words 4000 1 >text
moe-train --dim 16 --layers 2 --heads 2 --hidden 16 --experts 4 --tiers 1,3 --seq 16 --batch 4 \
	--steps 40 --census-every 10 --trace --trace-every 10 -o run text 2>"$T/err"
ok "a run with a trace" test -s run/trace.csv.gz
moe-view -o run.html run
perl figure.pl run.html flow |
	awk -F'|' '$4 > 0 && $3 == 0 && $5 != "" && $6 != "" { printf "%.5f\n", $4 }' | sort >got
moe-ecology flow --tiers 1,3 run/trace.csv.gz |
	awk -F, 'NR > 1 && $4 > 0 { printf "%.5f\n", $5 }' | sort >want
same got want "flow from first to second choices: moe-ecology's"
perl figure.pl run.html web >got
zcat run/trace.csv.gz | awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
	$at["rank"] == 0 { first = $at["expert"]; next }
	{ l = $at["layer"]; e = $at["expert"]; n[l, first, e]++; n[l, e, first]++; all[l]++ }
	END { for (l = 0; l < 2; l++) for (i = 0; i < 4; i++) for (j = 0; j < 4; j++) if (i != j)
		printf "layer %d|%d|%.6g|%.6g||\n", l, i, j, n[l, i, j] / all[l] * 6 }' | sort >want
same got want "who is chosen together, in even shares"
moe-view --plot map --csv run | awk -F, '/^"?layer 0/ { printf "%.4f %.4f\n", $3, $4 }' | sort >got
moe-knn galaxy --cosine run/ckpt.safetensors:0 run/trace.csv.gz -o galaxy.csv
awk -F, 'NR > 1 { printf "%.4f %.4f\n", $5, $6 }' galaxy.csv | sort >want
same got want "the map of a checkpoint's keys: moe-knn's"
moe-view --plot map --csv galaxy.csv >got
is "$(grep -c '^keys by' got)" 8 "a map of another's making"
ok "with its communities" grep -q ',"expert 0, community 0"$' got
moe-view --plot flow --csv run/trace.csv.gz >got
moe-view --plot flow --csv run >want
is "$(grep -vc slot got) $(grep -vc tier want)" "1 1" "a trace alone knows slots, a run its tiers"
printf 'layer,rank,expert\n0,0,1\n0,0,2\n' >first.csv
fails 1 "a trace without second choices" moe-view --plot flow first.csv
says 'no second choices' "is told"
printf 'layer,rank,expert\n0,0,1\n0,7' >cut.csv
fails 1 "a trace that is cut" moe-view --plot web cut.csv
says 'cut.csv' "is told"
head -c 1000 run/ckpt.safetensors >cut.safetensors
cp -r run damaged && cp cut.safetensors damaged/ckpt.safetensors
ok "a run with a damaged checkpoint" moe-view -o damaged.html damaged
ok "has no map" grep -q '<li>Map of the keys: there is no checkpoint' damaged.html

# The nearest keys, by cosine, against every pair of the checkpoint's rows.
moe-ckpt get run/ckpt.safetensors model.layers.1.mlp.gate.weight >gate.npy
script run.html frames | perl -MJSON::PP -0777 -ne '$d = decode_json($_);
	for (grep { $_->[0] == 1 } @{$d->{near}{links}}) {
		printf "%d %d %.5f\n", sort({ $a <=> $b } @$_[1, 2]), $_->[3];
	}' | sort -u >got
perl -0777 -ne '
	my $head = unpack("v", substr($_, 8, 2));
	my @v = unpack("f<*", substr($_, 10 + $head));
	my $d = @v / 4;
	my $dot = sub {
		my ($a, $b, $s) = (@_, 0);
		$s += $v[$a * $d + $_] * $v[$b * $d + $_] for 0 .. $d - 1;
		$s;
	};
	for my $i (0 .. 3) {
		my ($best, $like) = (-1, -2);
		for my $j (grep { $_ != $i } 0 .. 3) {
			my $c = $dot->($i, $j) / sqrt($dot->($i, $i) * $dot->($j, $j));
			($best, $like) = ($j, $c) if $c > $like;
		}
		# Experts of the second layer are numbered from 4.
		printf "%d %d %.5f\n", sort({ $a <=> $b } $i + 4, $best + 4), $like;
	}' gate.npy | sort -u >want
same got want "nearest keys"
done_testing
