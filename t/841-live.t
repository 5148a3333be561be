#!/bin/sh
# moe-view --serve: the page of a run at work follows its files, and refuses what it should.
. t/lib.sh
cd "$T" || exit 1
perl -MJSON::PP -MIO::Socket::INET -e 1 2>"$T/err" || skip_all "no JSON::PP of perl"

# until NAME COMMAND...: it succeeds within half a minute
until_true() {
	local name=$1 i=0
	shift
	while ! "$@" 2>"$T/err"; do
		i=$((i + 1))
		[ $i -lt 300 ] || {
			fail "$name" "success of: $*" "none in 30 s"
			return
		}
		sleep 0.1
	done
	pass "$name"
}

# serve RUN...: start the program; its port in $port
serve() {
	: >url
	moe-view --serve 0 "$@" >url 2>served &
	server=$!
	until_true "served: $*" grep -q 'http://127.0.0.1:[0-9]*/$' url
	port=$(sed 's/.*:\([0-9]*\).*/\1/' url)
}
trap 'kill $server $client $trainer 2>/dev/null; rm -rf "$T"' EXIT

# A client that sends all of its standard input and prints all that comes back.
cat >ask.pl <<'END'
use IO::Socket::INET;
my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => shift, Timeout => 20) or exit 3;
local $SIG{PIPE} = "IGNORE";
local $/;
print $s scalar <STDIN>;
$s->flush;
alarm 20;
$| = 1;
print while sysread($s, $_, 65536);
END
# ask REQUEST: the answer
ask() {
	printf "$1" | perl ask.pl "$port" >answer
}
# status REQUEST: of the answer
status() {
	ask "$1"
	head -n 1 answer | cut -d' ' -f2
}
get() {
	status "GET $1 HTTP/1.1\r\nHost: ${2-localhost}\r\nConnection: close\r\n\r\n"
}

# The state that a listener has from the events it got: losses, frames, events.
cat >state.pl <<'END'
use JSON::PP;
my $d;
while (<>) {
	s/^data: // or next;
	/\n$/ or last;
	my $m = decode_json($_);
	if ($m->{all}) {
		$d = $m->{all};
		next;
	}
	push @{$d->{$_}}, @{$m->{$_}} for "frames", "loss", "events";
}
print "loss $_->[0] $_->[1]\n" for @{$d->{loss}};
for my $f (@{$d->{frames}}) {
	print "frame $f->{step} ", join(" ", @$_[0 .. 4]), "\n" for @{$f->{rows}};
}
print "event ", join(" ", map { $_ // "" } @$_), "\n" for @{$d->{events}};
END
# state: what the client knows; what: what the tables of a run say
state() {
	perl state.pl heard
}
what() {
	awk -F, 'FNR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
		FILENAME ~ /loss/ { print "loss", $at["step"], $at["loss"]; next }
		FILENAME ~ /experts/ { print "frame", $at["step"], $at["layer"], $at["slot"], \
			$at["expert"], $at["parent"], $at["born"]; next }
		$at["event"] != "keep" { print "event", $at["step"], $at["layer"], $at["slot"], \
			$at["event"], $at["expert"], $at["parent"], $at["cause"] }' \
		"$1/loss.csv" "$1/experts.csv" "$1/events.csv"
}
agrees() {
	state >got
	what "$1" >want
	cmp -s got want
}
hear() {
	printf 'GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n' >asked
	perl listen.pl "$port" <asked >heard &
	client=$!
}
sed 's/^alarm 20;//' ask.pl >listen.pl

mkdir run
echo 'step,domain,loss' >run/loss.csv
echo 'step,layer,slot,expert,parent,born,demand,left' >run/experts.csv
echo 'step,layer,slot,event,expert,parent,value,threshold,cause,left' >run/events.csv
serve run
hear

# --- what comes is told ---
until_true "an empty run" grep -q '^data: {"all":{"frames":\[\],"loss":\[\]' heard
echo '1,law,5.5' >>run/loss.csv
until_true "a first row" agrees run
printf '2,law,5.2' >>run/loss.csv
sleep 0.3
ok "half a row is not told" sh -c '! grep -q "\[2,5" heard'
printf '5\n3,law,5\n' >>run/loss.csv
until_true "its rest is" agrees run
printf '10,0,0,0,-1,0,0.5,1\n' >>run/experts.csv
sleep 0.3
ok "half a census is not told" sh -c '! grep -q "\"step\":10" heard'
printf '10,0,1,1,-1,0,0.5,0\n' >>run/experts.csv
printf '10,0,1,death,1,,0.1,0.2,replace,1\n10,0,1,birth,2,0,0.1,0.2,replace,0\n' >>run/events.csv
until_true "its rest is, with the events" agrees run
printf '20,0,0,0,-1,0,0.5,1\n20,0,1,2,0,10,0.5,0\n' >>run/experts.csv
printf '4,law,4\n20,code,3\n' >>run/loss.csv
until_true "the next census" agrees run
is "$(grep -c '^data: {"all"' heard)" 1 "all of it was told only once"

# --- files that are cut back ---
sed -i '/^20/d' run/experts.csv
sed -i '/^20/d; /^4/d' run/loss.csv
until_true "rows that are taken back" agrees run
printf '4,law,4\n20,code,3\n' >>run/loss.csv
printf '20,0,0,0,-1,0,0.5,1\n20,0,1,2,0,10,0.5,0\n' >>run/experts.csv
until_true "and come again" agrees run
head -n 2 run/loss.csv >shorter
cp shorter run/loss.csv
until_true "a file that is cut where it stands" agrees run
hear
until_true "who comes late hears all" agrees run

# --- what is asked ---
is "$(get /)" 200 "the page"
ok "is the live one" grep -q '<body data-live>' answer
ok "and may not be framed" grep -qi "frame-ancestors 'none'" answer
is "$(get /figures)" 200 "the figures"
ok "say up to when they tell" grep -q '<p class="note">Up to step [1-9][0-9]*\.</p>' answer
ok "are those of the run" grep -q 'id="story"' answer
is "$(status 'HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n')" 200 "HEAD"
for path in /nothing /../run/loss.csv /%2e%2e/run/loss.csv //etc/passwd /run/loss.csv \
	'/events/../../loss.csv' '/?/../x/..' '*'; do
	case $path in '/?'*) continue ;; esac
	is "$(get "$(echo "$path" | sed 's/%/%%/g')")" 404 "not there: $path"
done
for host in elsewhere.invalid localhost.elsewhere.invalid '127.0.0.1.elsewhere.invalid' ''; do
	is "$(get / "$host")" 403 "another host: $host"
done
is "$(get / localhost:1)" 200 "a port does not matter"
post='POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc'
is "$(status "$post")" 405 "POST"
is "$(status 'DELETE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')" 405 "DELETE"
{
	printf 'GET / HTTP/1.1\r\nHost: localhost\r\nX: '
	awk 'BEGIN { for (i = 0; i < 100000; i++) printf "aaaaaaaaaa" }'
} | perl ask.pl "$port" >answer
ok "a header of 1 MB is refused" grep -Eq '^HTTP/1.1 (431|413|400)' answer
ask 'rubbish\r\n\r\n'
ok "rubbish is refused" sh -c '! grep -q "200 OK" answer'

# --- who holds connections ---
cat >hold.pl <<'END'
use IO::Socket::INET;
my ($port, $n, $say) = @ARGV;
my @all;
for (1 .. $n) {
	my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port,
		Blocking => $say) or next;
	print $s "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n" if $say;
	print $s "GET / HT" if !$say && $_ % 2;
	$s->flush;
	push @all, $s;
}
print "held\n";
close STDOUT;
sleep 60;
END
served_still() {
	[ "$(get /)" = 200 ]
}
perl hold.pl "$port" 1000 0 >held &
holder=$!
until_true "a thousand who say nothing" grep -q held held
until_true "do not keep others out for long" served_still
kill $holder 2>/dev/null
perl hold.pl "$port" 40 1 >held &
holder=$!
until_true "forty who do not listen" grep -q held held
is "$(get /figures)" 200 "do not keep others out"
kill $holder 2>/dev/null
# slow.pl PORT: a byte of a request each second, on all connections that there may be, until cut off
cat >slow.pl <<'END'
use IO::Socket::INET;
$SIG{PIPE} = "IGNORE";
my @all = map { IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $ARGV[0]) } 1 .. 64;
my $end = time + 30;
$| = 1;
print "held\n";
while (time < $end) {
	my $cut = 0;
	for (@all) {
		next if !$_;
		syswrite($_, "G");
		vec(my $ready = "", fileno($_), 1) = 1;
		$cut++ if select($ready, undef, undef, 0) && !sysread($_, my $buf, 1);
	}
	if ($cut >= 60) {
		print "cut off\n";
		exit;
	}
	select(undef, undef, undef, 0.5);
}
END
perl slow.pl "$port" >held &
holder=$!
until_true "sixty-four who ask a byte at a time" grep -q held held
until_true "are cut off" grep -q 'cut off' held
until_true "and others served" served_still
kill $holder 2>/dev/null
ok "no connection is left" test "$(ls -l /proc/$server/fd | grep -c socket)" -lt 20
printf '5,law,4.5\n6,law,4.25\n' >>run/loss.csv
kill $client
hear
until_true "it still follows" agrees run

fails 1 "a port in use" moe-view --serve "$port" run
says '^moe-view: address 127.0.0.1, port [0-9]*: Address already in use' "is told"
kill -TERM $server
status=0
wait $server || status=$?
is "$status $(cat served)" "0 " "it ends when asked to, without a word"
fails 1 "no run" moe-view --serve 0 nowhere
fails 1 "an address that is not ours" moe-view --serve 0 --listen 203.0.113.1 run
says '^moe-view: address 203.0.113.1' "is told"
for words in '--serve 0' '--serve 70000 run' '--serve 0 a b c' '--serve 0 -o x run' \
	'--serve 0 --plot loss run'; do
	fails 2 "wrong usage: $words" moe-view $words
done
fails 1 "an address that cannot be told" sh -c 'exec moe-view --serve 0 run >/dev/full'

# --- a trainer at work, killed and resumed ---
awk 'BEGIN { for (i = 0; i < 4000; i++) printf "%d times %d is %d.\n", i % 97, i % 89, \
	(i % 97) * (i % 89) }' >text
# train RUN
train() {
	exec moe-train --dim 16 --layers 2 --heads 2 --hidden 16 --experts 4 --seq 16 --batch 4 \
		--steps 300 --census-every 10 --ckpt-every 50 --lifecycle market --spread 0 \
		--market-warmup 50 --fitness A --sigma 0.01 -o "$1" text
}
mkdir work
(train work) 2>trainer.err &
trainer=$!
until_true "a trainer begins" test -s work/loss.csv
serve work
hear
perl hold.pl "$port" 1000 0 >held &
holder=$!
until_true "and is at work, while a thousand hold the server" \
	sh -c '[ "$(wc -l <work/loss.csv)" -gt 150 ]'
kill -KILL $trainer
wait $trainer 2>/dev/null
kill $holder 2>/dev/null
kill $client
until_true "the server is there again" served_still
hear
until_true "killed: what it left is known" agrees work
ok "it goes on" sh -c "$(sed -n '/^train() {/,/^}/p' "$OLDPWD/$0"); (train work)"
until_true "and the end is known" agrees work
ok "events among it" grep -q '^event [0-9]* . . birth' got
until_true "with whom is nearest to whom" grep -q '"near":{"step":300,"links":\[\[' heard
ok "the same alone" sh -c "$(sed -n '/^train() {/,/^}/p' "$OLDPWD/$0"); (train alone)"
same_run work alone "makes the same files: the trainer did not notice"
kill $server $client
wait $server
done_testing
