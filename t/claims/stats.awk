# Figures of runs, by variant, figure, phase and seed, and what can be said of them over seeds: for
# the tables and verdicts of each paper.
# Read variant,seed,figure,phase,value, then the paper's tables, then `moe-market value`.
BEGIN {
	FS = ","
	split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262", quantile, " ")
}
/^#/ { next }
FILENAME ~ /figures.csv$/ && $2 + 0 {
	value[$1, $3, $4, $2] = $5
	known[$1]
	if (!($2 in seen)) { seen[$2]; seed[++seeds] = $2 }
}
FILENAME ~ /replacements.csv$/ && $6 != "replacements" {
	paper["replacements", $1, $4 == 0 && $5 == "" ? "all" : int($4 / 1500)] = $6
}
FILENAME ~ /recovery.csv$/ { paper["steps", $1] = $2; paper["speedup", $1] = $4 }
FILENAME ~ /loss.csv$/ { paper["loss", $1, $2] = $4 }
FILENAME ~ /value.csv$/ { worth[$1] = $3 }
FILENAME ~ /living.table.csv$/ && $2 + 0 { paper["standard", $1] = $2; paper["alive", $1] = $3 }
FILENAME ~ /ecology.tables.csv$/ && $1 + 0 { paper[$1, $2, $3, $4] = $5 }

# Into x[1..n] the figure of a variant, of a phase or "", over seeds; n.
function sample(x, v, f, p,    i, n) {
	for (i = 1; i <= seeds; i++)
		if ((v, f, p, seed[i]) in value) x[++n] = value[v, f, p, seed[i]]
	return n + 0
}
# Its differences from that of variant w, where both have the seed.
function differences(x, v, w, f, p,    i, n) {
	for (i = 1; i <= seeds; i++)
		if ((v, f, p, seed[i]) in value && (w, f, p, seed[i]) in value)
			x[++n] = value[v, f, p, seed[i]] - value[w, f, p, seed[i]]
	return n + 0
}
function mean(x, n,    i, sum) {
	for (i = 1; i <= n; i++) sum += x[i]
	return n ? sum / n : 0
}
function deviation(x, n,    i, m, sum) {
	m = mean(x, n)
	for (i = 1; i <= n; i++) sum += (x[i] - m) ^ 2
	return n > 1 ? sqrt(sum / (n - 1)) : 0
}
# Half of the 95 % interval of the mean; without end for a single value.
function half(x, n) {
	return n < 2 ? 1e300 : quantile[n - 1] * deviation(x, n) / sqrt(n)
}
# Where the interval of a sample lies: 1 above a, -1 below, 0 neither.  Values that are all the
# same have an interval of no length.
function side(x, n, a,    m, h) {
	m = mean(x, n)
	h = half(x, n)
	return m - h > a ? 1 : m + h < a ? -1 : 0
}
function beside(v, f, p, a,    x, n) {
	n = sample(x, v, f, p)
	return n ? side(x, n, a) : 0
}
# 1: more in v than in w, -1: less, 0: it cannot be told.
function more(v, w, f, p,    x, n) {
	n = differences(x, v, w, f, p)
	return n ? side(x, n, 0) : 0
}
# Digits after the point with which x has two that count, at most three.
function digits(x,    d) {
	if (x < 0) x = -x
	for (d = 0; x > 0 && x < 10 && d < 3; d++) x *= 10
	return d
}
# "mean ± sd" of a figure, or - if no run has it.
function show(v, f, p,    x, n, d, f2) {
	n = sample(x, v, f, p)
	if (n == 0) return "-"
	d = digits(n > 1 && deviation(x, n) > 0 ? deviation(x, n) : mean(x, n) / 10)
	f2 = "%." d "f"
	return n == 1 ? sprintf(f2, x[1]) : sprintf(f2 " ± " f2, mean(x, n), deviation(x, n))
}
function average(v, f, p,    x, n) {
	n = sample(x, v, f, p)
	return mean(x, n)
}

# Verdicts, as CSV or with -v people=1 as text.
function quoted(s) {
	gsub(/"/, "\"\"", s)
	return s ~ /[",]/ ? "\"" s "\"" : s
}
# The end of a claim, which fills in ours, theirs, why and command: 1 it holds, -1 it does not, 0 it
# cannot be told, as without a variant it needs.
function verdict(id, holds, needs,    i, n, v, missing, word) {
	n = split(needs, v, " ")
	for (i = 1; i <= n; i++)
		if (!(v[i] in known)) missing = missing " " v[i]
	if (missing) {
		holds = 0
		ours = "-"
		why = "not run:" missing
	}
	word = holds > 0 ? "reproduced" : holds < 0 ? "not reproduced" : "cannot tell"
	if (people)
		printf "%-4s %-15s  ours:  %s\n%21s  paper: %s\n%21s  %s\n", id, word, ours, "", theirs, \
			"", why
	else
		print id "," quoted(ours) "," seeds "," quoted(theirs) "," word "," quoted(why) "," \
			quoted(command)
}
# All of the parts hold: 1; one of them does not: -1; else 0.
function all(a, b, c, d,    least) {
	least = a < b ? a : b
	if (c != "" && c < least) least = c
	if (d != "" && d < least) least = d
	return least
}
# A count that is to be 0: 1 if it is in every run, -1 if it is in none, else 0.
function none(v, f, p,    i, n, x, zero) {
	n = sample(x, v, f, p)
	for (i = 1; i <= n; i++) zero += x[i] == 0
	return n == 0 ? 0 : zero == n ? 1 : zero ? 0 : -1
}
function not(x) { return 0 - x }

# Tables for people; names: the width of a row's name, if not 13.
# printf counts the two bytes of a plus-minus sign as two columns.
function cell(text, wide) {
	printf "%" (text ~ /±/ ? wide + 1 : wide) "s", text
}
function line(first, list, wide,    i, n, t) {
	printf "  %-" (names ? names : 13) "s", first
	n = split(list, t, "|")
	for (i = 1; i <= n; i++) cell(t[i], wide)
	print ""
}
# A row for each variant, a column for each figure, which is FIGURE or FIGURE:PHASE, and at last
# the paper's where it has one.
function table(variants, figures, wide, theirs,    i, k, n, m, v, f, part, t) {
	n = split(variants, v, " ")
	m = split(figures, f, " ")
	for (i = 1; i <= n; i++) {
		for (k = 1; k <= m; k++) {
			split(f[k] ":", part, ":")
			t = (k > 1 ? t "|" : "") show(v[i], part[1], part[2])
		}
		line(v[i], t (theirs ? "|" in_paper(theirs, v[i]) : ""), wide)
	}
}
function in_paper(what, v,    x) {
	x = paper[what, v]
	return x != "" ? x : "-"
}
