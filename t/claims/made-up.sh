# For tests of verdicts: figures made up, and what is made of them.  Before it is sourced $rules is
# the script of the verdicts and $inputs what it reads behind the figures.

# figures SCRIPT: three seeds of figures; the script, in awk, calls
# put(variant, figure, phase, a, b, c).
figures() {
	{
		echo variant,seed,figure,phase,value
		awk 'function put(v, f, p, a, b, c) {
			f = f "," p
			printf "%s,1,%s,%s\n%s,2,%s,%s\n%s,3,%s,%s\n", v, f, a, v, f, b, v, f, c }
		BEGIN { '"$1"' }'
	} >"$T/figures.csv"
	verdicts
}
verdicts() {
	awk -f t/claims/stats.awk -f "$rules" "$T/figures.csv" $inputs >"$T/verdicts.csv"
}
# verdict ID: what it is
verdict() {
	grep -oE "^$1,.*" "$T/verdicts.csv" | grep -oE ',(reproduced|not reproduced|cannot tell),' |
		tr -d ,
}
# Lines of ID, verdict and a script, with | between: on top of the figures of $paper the script's.
changed() {
	while IFS='|' read -r id want change; do
		figures "$paper$change"
		is "$(verdict "$id")" "$want" "$id: $change"
	done
}
