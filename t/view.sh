# Runs for the tests of moe-view, and what a page says of them.

# make_run NAME SEED
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
# make_idle NAME
# Eight experts in each of two layers, most of them idle.
make_idle() {
	mkdir -p "$1"
	awk 'BEGIN {
		print "step,layer,slot,expert,parent,born,demand"
		for (i = 10; i <= 20; i += 10)
			for (k = 0; k < 16; k++) {
				e = k % 8
				few = e < 3 ? 0.3 : e == 3 ? 0.1 : e == 4 ? 0 : 0.001
				printf "%d,%d,%d,%d,-1,0,%g\n", i, (k > 7), e, k, \
					(k > 7) ? few : (e == 0)
			}
	}' >"$1/experts.csv"
}
# idle_events: its last census comes before what its step brings: two are born, one dies
idle_events() {
	cat <<-'END'
		step,layer,slot,event,expert,parent,value,threshold,cause
		20,0,8,birth,16,0,,,split
		20,0,9,birth,17,0,,,split
		20,1,7,death,15,,,,starved
	END
}
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
