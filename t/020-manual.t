#!/bin/sh
# Usage and manual name the same options; every page is well-formed and whole.
. t/lib.sh

# Options in the usage text FILE: all long ones, each on a line.
usage_options() {
	grep -oE -e '(^|[^[:alnum:]-])--[a-z][a-z0-9-]*' "$1" | sed 's/.*--/--/' | sort -u
}

# Options that PAGE documents with the macro Fl: long and short ones.
page_options() {
	grep -v '^\.\\"' "$1" | grep -oE 'Fl -?[A-Za-z][A-Za-z0-9-]*' | sed 's/Fl /-/' | sort -u
}

# lacks OPTIONS FILE: those of the lines of OPTIONS that FILE does not name
lacks() {
	while read -r option; do
		grep -Eq -e "(^|[^[:alnum:]-])$option([^[:alnum:]-]|\$)" "$2" || echo "$option"
	done <"$1"
}

# The comparison itself, on a usage and a page that disagree.
printf 'usage: moe-x [-o FILE] [--steps N] --new\n' >"$T/usage"
printf '.Fl o\n.Op Fl -steps Ar N\n.It Fl -gone\n.\\" Fl -hidden\n' >"$T/page"
usage_options "$T/usage" >"$T/in-usage"
page_options "$T/page" >"$T/in-page"
is "$(lacks "$T/in-usage" "$T/in-page")" "--new" "an option without a manual entry is noticed"
is "$(lacks "$T/in-page" "$T/usage")" "--gone" "a manual entry without an option is noticed"

for program in "$B"/moe-*; do
	[ -f "$program" ] && [ -x "$program" ] || continue
	name=${program##*/} page=man/${program##*/}.1
	ok "$name -h exits 0" sh -c '"$1" -h >"$2"' sh "$program" "$T/usage"
	is "$(cat "$T/err")" "" "$name -h prints nothing on stderr"
	ok "$name -h prints its usage on stdout" grep -q "^usage: $name " "$T/usage"
	is "$(awk 'length > 100' "$T/usage")" "" "the usage of $name fits 100 columns"
	version=$("$program" -V)
	case $version in
	"$name "[0-9]*) pass "$name -V prints its version" ;;
	*) fail "$name -V prints its version" "$name and a number" "\"$version\"" ;;
	esac
	usage_options "$T/usage" >"$T/in-usage"
	page_options "$page" >"$T/in-page"
	is "$(lacks "$T/in-usage" "$T/in-page")" "" "$page documents every option of the usage"
	is "$(lacks "$T/in-page" "$T/usage")" "" "the usage of $name names every option of the page"
done

for page in man/*.[157]; do
	if command -v mandoc >/dev/null; then
		is "$(mandoc -Tlint -Wwarning "$page" 2>&1)" "" "$page has no lint"
	fi
	is "$(sed -n 's/^\.Xr \(moe[a-z-]*\) \([157]\).*/man\/\1.\2/p' "$page" |
		while read -r other; do [ -f "$other" ] || echo "$other"; done)" "" \
		"$page refers to pages that exist"
	case $page in *.1) ;; *) continue ;; esac
	for section in 'EXIT STATUS' EXAMPLES; do
		ok "$page has $section" grep -qx ".Sh $section" "$page"
	done
done
done_testing
