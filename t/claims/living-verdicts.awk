# A verdict for each of the living layer's claims, as CSV or with -v people=1 as text: with stats.awk.
# The rules stand in moe-claims(7).

function final(v) { return "moe-train --eval runs/" v "/1/ckpt.safetensors text/chaos.val" }
# Into x the ratios of a figure in v to that in w, less `floor`, over seeds; n.
function ratios(x, v, w, f, floor,    i, n) {
	for (i = 1; i <= seeds; i++)
		if ((v, f, "", seed[i]) in value && (w, f, "", seed[i]) in value)
			x[++n] = (value[v, f, "", seed[i]] - floor) / \
				(value[w, f, "", seed[i]] - floor)
	return n + 0
}
function show_ratio(v, w, f, floor,    x, n) {
	n = ratios(x, v, w, f, floor)
	if (n == 0) return "-"
	return n == 1 ? sprintf("%.3f", x[1]) : sprintf("%.3f ± %.3f", mean(x, n), deviation(x, n))
}
# 1: certainly at most 0.6 of it, -1: certainly more.
function half_of(v, w,    x, n) {
	n = ratios(x, v, w, "val_loss", 0)
	return n ? not(side(x, n, 0.6)) : 0
}
function l1(    floor) {
	floor = average("chaos", "floor_at_most", "")
	ours = show("living", "val_loss", "") " nats; of equal experts' " \
		show_ratio("living", "fixed", "val_loss", 0) ", of equal parameters' " \
		show_ratio("living", "fixed-params", "val_loss", 0) ", of equal operations' " \
		show_ratio("living", "fixed-flops", "val_loss", 0)
	theirs = "0.35 of 0.70, equal experts"
	why = "above the floor of at most " sprintf("%.3f", floor) " nats: of equal experts' " \
		show_ratio("living", "fixed", "val_loss", floor) "; the living layer's router alone " \
		show("fixed-router", "val_loss", "") ", a standard pool of eight " \
		show("fixed", "val_loss", "") ", as large as the living one at its end " \
		show("fixed-params", "val_loss", "") "; prose: of equal experts' " \
		show_ratio("prose-living", "prose-fixed", "val_loss", 0) ", of equal parameters' " \
		show_ratio("prose-living", "prose-params", "val_loss", 0)
	command = final("living") "; " final("fixed")
	verdict("L1", all(half_of("living", "fixed"), half_of("living", "fixed-params"), \
		half_of("living", "fixed-flops")), "living fixed fixed-params fixed-flops")
}
# Births and deaths are the growth: in every run of these, as events and census tell it.
function ledger(list,    n, v, i, k, x, y, m) {
	n = split(list, v, " ")
	for (i = 1; i <= n; i++) {
		m = sample(x, v[i], "left", "")
		sample(y, v[i], "experts", "")
		for (k = 1; k <= m; k++) if (x[k] != y[k]) return -1
	}
	return 1
}
function l2(    each) {
	each = average("grown", "experts", "") / 2
	ours = sprintf("8 to %d in a layer, %d births and %d deaths in two layers", each, \
		average("grown", "births", ""), average("grown", "deaths", ""))
	theirs = "8 to over 1,400, 51 births and 37 deaths: 22 by their sum"
	why = "founders + births - deaths are the experts at the end" \
		(ledger("living grown no-mitosis no-apoptosis prose-living") > 0 ? "" : \
		" - not in every run") "; the loss is " show("grown", "val_loss", "") ", of a standard " \
		"pool of as many experts " show("grown-params", "val_loss", "") ", of one living up to " \
		sprintf("%d", average("living", "most", "") / 2) " " show("living", "val_loss", "")
	command = "cut -d, -f4 runs/grown/1/events.csv | sort | uniq -c"
	verdict("L2", all(each > 1400 ? 1 : -1, \
		ledger("living grown no-mitosis no-apoptosis prose-living")), "grown")
}
# 1: certainly within, -1: certainly not.
function within(v, f, lo, hi) {
	return all(beside(v, f, "", lo), not(beside(v, f, "", hi)))
}
function l3() {
	ours = "child's part " show("living", "split_child", "") " of what both have, which is " \
		show("living", "split_sum", "") " of the parent's demand before"
	theirs = "they split the load"
	why = "medians over mitoses, at the check after each; on prose " \
		show("prose-living", "split_child", "") " and " show("prose-living", "split_sum", "")
	command = "grep -w birth runs/living/1/events.csv; runs/living/1/experts.csv has the demand"
	verdict("L3", all(within("living", "split_child", 0.4, 0.6), \
		within("living", "split_sum", 0.8, 1.25)), "living")
}
function l4(    gone, dead) {
	gone = average("memory", "before", "") - average("memory", "after", "")
	dead = average("memory", "dead", "")
	ours = sprintf("%.0f MB returned of the %.0f MB of 62 that die at once", gone, dead)
	theirs = "freed immediately"
	why = sprintf("resident memory falls from %.0f to %.0f MB within the check", \
		average("memory", "before", ""), average("memory", "after", ""))
	command = "sh t/claims/living-memory.sh text/chaos"
	verdict("L4", dead && gone > 0.9 * dead ? 1 : -1, "memory")
}
function l5(    ball, waves) {
	ball = more("plateau-off", "plateau-ball", "val_loss", "")
	waves = more("plateau-off", "plateau-waves", "val_loss", "")
	ours = "loss " show("plateau-off", "val_loss", "") " without, " \
		show("plateau-ball", "val_loss", "") " through the ball (" \
		show("plateau-ball", "escapes", "") " escapes), " \
		show("plateau-waves", "val_loss", "") " among waves (" \
		show("plateau-waves", "escapes", "") ")"
	theirs = "believed to help, not isolated"
	why = "seed by seed; batches 50 to 250 after the first escape, until which all three are the " \
		"same: " show("plateau-off", "after_escape", "") ", " \
		show("plateau-ball", "after_escape", "") ", " show("plateau-waves", "after_escape", "") \
		"; with despair as published there are " show("living", "escapes", "") " escapes"
	command = final("plateau-ball") "; " final("plateau-off")
	verdict("L5", (ball > 0 || waves > 0) - (ball < 0 || waves < 0), \
		"plateau-ball plateau-waves plateau-off")
}
# Spearman's rank correlation of two figures over all runs that have both; n is set.
function ranks(x, n, r,    i, k, less, same) {
	for (i = 1; i <= n; i++) {
		less = same = 0
		for (k = 1; k <= n; k++) { less += x[k] < x[i]; same += x[k] == x[i] }
		r[i] = less + (same + 1) / 2
	}
}
function spearman(f, g,    k, key, x, y, a, b, i, sx, sy, sxy, m) {
	n = 0
	for (k in value) {
		split(k, key, SUBSEP)
		if (key[2] == f && (key[1], g, key[3], key[4]) in value && key[1] !~ /^prose/) {
			x[++n] = value[k]
			y[n] = value[key[1], g, key[3], key[4]]
		}
	}
	if (n < 5) return 0
	ranks(x, n, a)
	ranks(y, n, b)
	m = (n + 1) / 2
	for (i = 1; i <= n; i++) {
		sx += (a[i] - m) ^ 2
		sy += (b[i] - m) ^ 2
		sxy += (a[i] - m) * (b[i] - m)
	}
	return sx * sy > 0 ? sxy / sqrt(sx * sy) : 0
}
# 1 or -1 where |r| of n is beyond what is by chance in one case of twenty.
function sure(r, n,    t) {
	if (n < 5) return 0
	if (r ^ 2 >= 1) return r > 0 ? 1 : -1
	t = r * sqrt((n - 2) / (1 - r ^ 2))
	return t > 2.1 ? 1 : t < -2.1 ? -1 : 0
}
function l6(    r, div, dist, alike) {
	div = spearman("diversity", "cost")
	dist = spearman("distance", "cost")
	alike = spearman("product", "integration")
	r = spearman("product", "cost")
	ours = sprintf("rank correlation of the published Phi with what the removal of an expert " \
		"costs: %.2f over %d runs", r, n)
	theirs = "a collapse of Phi signals redundant experts"
	why = sprintf("of the diversity %.2f, of the distance between outputs %.2f; the published " \
		"Phi goes with how alike outputs are, %.2f, so that it is low where experts differ", \
		div, dist, alike)
	command = "sh t/claims/living.sh runs/living/1 living 1 text"
	verdict("L6", sure(r, n), "living fixed")
}
function l7(    x, n) {
	n = sample(x, "living", "life_share", "")
	ours = sprintf("%.1f %% of the time for census, tables and policy", \
		100 * average("living", "life_share", ""))
	theirs = "not profiled"
	why = sprintf("a step of the living layer at its end takes %.2f of one of eight experts, " \
		"of as many as it has %.2f; with 1,400 experts: make bench", \
		average("living", "step_seconds", "") / (average("fixed", "step_seconds", "") + 1e-9), \
		average("living", "step_seconds", "") / \
		(average("fixed-params", "step_seconds", "") + 1e-9))
	command = "sh t/claims/living-timed.sh runs/living/1 living"
	verdict("L7", n ? mean(x, n) < 0.1 ? 1 : -1 : 0, "living fixed fixed-params")
}
END {
	if (!people) print "id,ours,seeds,paper,verdict,why,command"
	l1(); l2(); l3(); l4(); l5(); l6(); l7()
}
