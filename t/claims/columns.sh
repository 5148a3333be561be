# For scripts that turn a run into figures, with $variant and $seed set.

# columns FILE NAME...: these columns of a CSV without quotes, with blanks between and - for nothing
columns() {
	file=$1
	shift
	awk -F, -v want="$*" '
		!n { n = split(want, name, " "); for (i = 1; i <= NF; i++) at[$i] = i; next }
		{ for (i = 1; i <= n; i++) printf "%s%s", $at[name[i]] == "" ? "-" : $at[name[i]],
			i < n ? " " : "\n" }' "$file"
}
# Lines of figure, phase (or -) and value, to rows; no value, no row.
rows() {
	awk -v v="$variant" -v s="$seed" '$3 != "" && $3 != "-" {
		printf "%s,%s,%s,%s,%.9g\n", v, s, $1, $2 == "-" ? "" : $2, $3 }'
}
recipe() {
	sed -n "s/^$1 //p" "$run/recipe"
}
