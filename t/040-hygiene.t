#!/bin/sh
# What a reader of the tree should not meet.
. t/lib.sh

# Names in the top level that do not belong there.
strangers() {
	grep -vxE 'cmd|lib|man|testdata|t|Makefile|README|moe\.mk|\.ci|\.gitignore|\.clang-format'
}

# Lines of FILE... whose layout is wrong: file:line: what.
ragged() {
	awk '
	{ wide = $0
	  while ((i = index(wide, "\t")) > 0)
		wide = substr(wide, 1, i - 1) substr("        ", 1 + (i - 1) % 8) \
			substr(wide, i + 1) }
	/[ \t]$/ { print FILENAME ":" FNR ": space at the end of the line" }
	/\r/ { print FILENAME ":" FNR ": carriage return" }
	/^\t* +\t/ { print FILENAME ":" FNR ": space before a tab" }
	/^        / { print FILENAME ":" FNR ": indented with spaces" }
	length(wide) > 100 { print FILENAME ":" FNR ": wider than 100 columns" }' "$@" /dev/null
}

# Words of FILE... that tell of unfinished work, or of the machine it was written on.
telltale() {
	grep -nE -e '(^|[^[:alnum:]_])(TODO|FIXME|XXX|HACK)([^[:alnum:]_]|$)' \
		-e '(^|[^[:alnum:]_./])/(work|root|home)(/|[^[:alnum:]]|$)' \
		-e '\.\./shared' -e '[Nn]ot (yet )?implemented' "$@" /dev/null
}

is "$(printf 'lib\nREADME\nutils.c\nt\n' | strangers)" utils.c \
	"a stranger in the top level is noticed"
printf '\tint a; \n  \tint b;\n        int c;\n\tint d;\n%0101d\n' 0 >"$T/x.c"
is "$(ragged "$T/x.c" | cut -d: -f2 | tr '\n' ' ')" "1 2 3 5 " "ragged lines are noticed"
printf 'fine\nTODO: more\n/work/main\n../shared\nnet/worker\nMETHODOLOGY TODOS\n' >"$T/words"
is "$(telltale "$T/words" | cut -d: -f2 | tr '\n' ' ')" "2 3 4 " "telltale words are noticed"

# The files of the tree: as git knows them, or all of an unpacked archive.
if git ls-files 2>/dev/null | grep -q .; then
	git ls-files
else
	find . -name .git -prune -o -path "./${B%%/*}" -prune -o -type f -print | sed 's|^\./||'
fi >"$T/files"
is "$(sed 's|/.*||' "$T/files" | sort -u | strangers)" "" "the top level holds what it should"
is "$(ragged $(grep -E '\.([ch]|sh|t)$' "$T/files"))" "" "sources are laid out evenly"
is "$(ragged $(grep -E '^(man/.*|README|Makefile)$' "$T/files") | grep -v indented)" "" \
	"text is laid out evenly"
is "$(telltale $(grep -E '^(cmd|lib|man)/|^README$' "$T/files"))" "" "no telltale words"
for script in $(grep -E '^t/.*\.(t|sh)$|^\.ci/run$' "$T/files"); do
	ok "$script is a shell script" sh -n "$script"
done
done_testing
