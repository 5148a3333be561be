#!/bin/sh
# The examples of the manual and the README run as they stand, in a few seconds.
. t/lib.sh
root=$PWD

# cut_out PAGE: each line shown (.Dl), each block (.Bd) of its EXAMPLES, into a file of its own.
cut_out() {
	rm -rf "$T/cut"
	mkdir "$T/cut"
	awk -v dir="$T/cut" '
		function next_file() { file = sprintf("%s/%03d", dir, ++n) }
		/^\.Sh / { examples = $0 == ".Sh EXAMPLES" }
		!examples { next }
		/^\.Ed/ { block = 0 }
		block { print >file }
		/^\.Bd -literal/ { block = 1; next_file() }
		/^\.Dl / { next_file(); print substr($0, 5) >file }
	' "$1"
	[ ! -e "$T/cut/001" ] ||
		sed -i 's/^\$ //; s/\\(dq/"/g; s/\\e/\\/g; s/\\&//g' "$T"/cut/*
}

# Whether the machine has what a command is about.
possible() {
	case $1 in
	*bible*) moe-data text bible --limit 1 ;;
	*stories260K.bin*) [ -f stories260K.bin ] ;;
	esac
} 2>/dev/null

# run NAME SCRIPT, in the directory where we are
run() {
	if possible "$(cat "$2")"; then
		ok "$1: $(head -n 1 "$2")" sh -e "$2"
	else
		echo "# $1: not run here: $(cat "$2")" >&2
	fi
}

# page NAME DIRECTORY
page() {
	cut_out "$root/man/$1"
	ok "$1 has examples to run" test -s "$T/cut/001"
	cd "$2" || exit 1
	for script in "$T"/cut/*; do
		run "$1" "$script"
	done
	cd "$root" || exit 1
}

# The test itself: what fails in a page fails here.
cat >"$T/page" <<'END'
.Sh EXAMPLES
.Dl $ true
.Bd -literal
echo \e
  a &&
\&false
.Ed
.Sh SEE ALSO
.Dl no
END
cut_out "$T/page"
is "$(cat "$T"/cut/*)" "true
echo \\
  a &&
false" "lines and blocks of the examples are found, and nothing else"
fails 1 "a command that fails is noticed" sh -e "$T/cut/002"

# Pages that begin with a text, then those that begin with a run.
for name in moe-data.1 moe-train.1; do
	mkdir "$T/$name"
	page "$name" "$T/$name"
done

mkdir "$T/runs"
head -c 20000 "$T/moe-train.1/law.txt" >"$T/runs/text"
for name in run RUN OTHER; do
	ok "a run called $name" moe-train --dim 16 --heads 2 --hidden 16 --seq 16 --steps 4 \
		--census-every 2 --trace --trace-every 2 --val-frac 0.1 \
		-o "$T/runs/$name" "$T/runs/text"
done
weights=$root/../shared/data/weights/stories260K.bin
[ ! -f "$weights" ] || ln -s "$weights" "$T/runs/stories260K.bin"
for name in moe-ckpt.1 moe-ckpt.5 moe-knn.1 moe-run.5 moe-trace.5; do
	page "$name" "$T/runs"
done

# The README's pipeline; moe(7) has the same, whose run is found complete or, if they disagree,
# refused.
mkdir "$T/readme"
awk '/^    PATH=/ { on = 1 } on && !/^    / { exit } on' README >"$T/pipeline"
ok "README has a pipeline" grep -q moe-train "$T/pipeline"
cd "$T/readme" || exit 1
run README "$T/pipeline"
cd "$root" || exit 1
page moe.7 "$T/readme"
done_testing
