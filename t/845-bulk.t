#!/bin/sh
# A run of a million rows: the page is small enough to be sent, and says what it left out.
. t/lib.sh
root=$PWD
cd "$T" || exit 1
perl -MJSON::PP -e 1 2>"$T/err" || skip_all "no JSON::PP of perl"
. "$root/t/view.sh"

# 40,000 steps with a loss each, one of them high; a census of 240 experts every 10 steps.
mkdir run
awk 'BEGIN {
	print "step,domain,loss"
	for (i = 1; i <= 40000; i++) printf "%d,text,%.9g\n", i, i == 23456 ? 99 : 1 + i % 7 / 10
}' >run/loss.csv
awk 'BEGIN {
	print "step,layer,slot,expert,parent,born,demand,quality,effective,left"
	for (i = 10; i <= 40000; i += 10)
		for (e = 0; e < 240; e++)
			print i "," (e > 119) "," e % 120 "," e ",-1,0," (i / 10 + e) % 5 ",0.5," \
				e / 100 "," 239 - e
}' >run/experts.csv
is "$(($(wc -l <run/loss.csv) + $(wc -l <run/experts.csv) > 1000000))" 1 "a million rows"
ok "a page" moe-view -o page.html run
ok "of less than 20 MB" test "$(wc -c <page.html)" -lt 20000000
ok "that says what a point is" \
	grep -q 'Each point is the mean of 267 steps; the band reaches' page.html
ok "and a cell" grep -q 'A cell is the mean of 14 steps of the census' page.html
script page.html loss | perl -MJSON::PP -0777 -ne '
	my $s = decode_json($_)->{panels}[0]{series}[0];
	my ($most) = sort { $b <=> $a } @{$s->{hi}};
	print scalar @{$s->{x}}, " $most\n"' >got
is "$(cat got)" "150 99" "no peak is lost"
# The third cell of expert 121, slot 1 of layer 1: steps 290 to 420, of the layer's 120.
script page.html experts | perl -MJSON::PP -0777 -ne '
	my $h = decode_json($_)->{panels}[1]{heat};
	my $n = @{$h->{x}} - 1;
	my ($r) = grep { $h->{name}[$_] eq "121" } 0 .. $#{$h->{name}};
	printf "%d %.6g\n", $h->{x}[3], $h->{v}[$r * $n + 2]' >got
awk 'BEGIN {
	for (i = 290; i <= 420; i += 10) {
		all = 0
		for (e = 120; e < 240; e++) all += (i / 10 + e) % 5
		sum += (i / 10 + 121) % 5 / all * 120
	}
	printf "%d %.6g\n", 420, sum / 14
}' >want
same got want "a cell is that mean"
script page.html frames | perl -MJSON::PP -0777 -ne '
	my $f = decode_json($_)->{frames};
	my $n = 0;
	$n += @{$_->{rows}} for @$f;
	print $n <= 150000 && $n > 100000 ? "fit" : $n, " $f->[-1]{step}\n"' >got
is "$(cat got)" "fit 40000" "what is played is thinned out, up to the last step"
done_testing
