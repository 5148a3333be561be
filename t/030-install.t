#!/bin/sh
# `make install` brings every program, page and moe.mk, `make uninstall` takes them all away again.
. t/lib.sh
root="$T/a root"

# Programs as they are built; no test waits for a compiler, or changes what others run.
run() {
	make -s -o all "$1" DESTDIR="$root" PREFIX=/opt/moe
}
files() {
	(cd "$root" && find . ! -type d | sed 's/^\.//' | sort)
}
expected() {
	for f in cmd/*.c; do
		[ -f "$f" ] && echo "/opt/moe/bin/$(basename "$f" .c)"
	done
	echo /opt/moe/include/moe.mk
	for f in man/*.[157]; do
		echo "/opt/moe/share/man/man${f##*.}/${f#man/}"
	done
}

ok "make install" run install
is "$(files)" "$(expected | sort)" "every program, page and moe.mk is installed, and nothing else"
for program in "$root"/opt/moe/bin/*; do
	[ -f "$program" ] && ok "the installed ${program##*/} runs" "$program" -V
done
ok "make install again" run install
ok "make uninstall" run uninstall
is "$(files)" "" "no file is left"
ok "make uninstall again" run uninstall

mkdir -p "$root/opt/moe/bin"
echo foreign >"$root/opt/moe/bin/foreign"
ok "make install beside other programs" run install
ok "make uninstall beside other programs" run uninstall
is "$(files)" /opt/moe/bin/foreign "a foreign file stays"
done_testing
