# A verdict for each of the market's claims, as CSV or with -v people=1 as text: with stats.awk.
# The rules stand in moe-claims(7).

function which(x) { return x > 0 ? "more" : x < 0 ? "fewer" : "not certainly more or fewer" }
function replaced(v, p) { return show(v, "replacements", p == "" ? "all" : p) }
function decided(formula, v) {
	return "moe-market decide --fitness " formula " --grace 0 --stats - -o events.csv runs/" v \
		"/1/experts.csv"
}
function counted(v, w) { return "moe-market runs runs/" v "/*; moe-market runs runs/" w "/*" }

function m1() {
	ours = replaced("A2") " replacements; the worst crosses at " show("A2", "crossing_A") \
		" of the checks"
	theirs = "never (figure 1: 6 replacements)"
	why = "even experts cross more often, not less: by A at " show("even", "crossing_A") \
		" of the checks where a loss balances them (sd / mean " show("even", "spread_A") \
		"), at " show("fixed", "crossing_A") " where nothing does (" \
		show("fixed", "spread_A") ")"
	command = decided("A", "A2")
	verdict("M1", all(none("A2", "replacements", "all"), \
		not(beside("A2", "crossing_A", "", 0.01))), "A2 even fixed")
}
function m2(    x) {
	x = more("B2", "A2", "replacements", "all")
	ours = "B2 " replaced("B2") ", A2 " replaced("A2")
	theirs = "16 and 6"
	why = "B replaces " which(x) " than A, seed by seed; sd / mean of F is " \
		show("B2", "spread_B") " by B and " show("A2", "spread_A") " by A"
	command = counted("A2", "B2")
	verdict("M2", x, "A2 B2")
}
function m3() {
	ours = show("B2", "burst") " replacements within 80 steps; " show("B2", "young_deaths") \
		" of the deaths before 50 market steps of life"
	theirs = "16 within 80 steps"
	why = "who died had lived " show("B2", "median_life") " market steps (median of newborns); " \
		"with grace " show("B2b", "burst") " within 80 steps"
	command = "sh t/claims/market.sh runs/B2/1 B2 1 text runs/scratch/1"
	verdict("M3", all(beside("B2", "young_deaths", "", 0.5), more("B2", "B2b", "burst", "")), \
		"B2 B2b")
}
function m4() {
	ours = replaced("C2") " replacements; sd / mean of F " show("C2", "spread_C")
	theirs = "0; F .003-.005"
	why = "exclusivity widens the spread (by B " show("C2", "spread_B") " on the same census): " \
		"nobody can be below mean - sd where sd exceeds the mean, and that is what freezes"
	command = decided("C", "C2")
	verdict("M4", none("C2", "replacements", "all"), "C2")
}
function m5(    b, c) {
	b = more("B2", "B2b", "replacements", "all")
	c = more("C2b", "C2", "replacements", "all")
	ours = "B " replaced("B2") " to " replaced("B2b") "; C " replaced("C2") " to " replaced("C2b")
	theirs = "16 to 7; 0 to 6"
	why = "with grace B has " which(not(b)) ", C " which(c) "; until step 1500, by " \
		"ramp and by tariff: B " replaced("B2b", 0) " and " replaced("B2t", 0) ", C " \
		replaced("C2b", 0) " and " replaced("C2t", 0)
	command = counted("B2b", "C2b")
	verdict("M5", all(b, c), "B2 B2b C2 C2b")
}
function m6() {
	ours = "B2b " replaced("B2b", 1) ", C2b " replaced("C2b", 1)
	theirs = "0, 0"
	why = "replacements after step 1500; before it " replaced("B2b", 0) " and " replaced("C2b", 0)
	command = counted("B2b", "C2b")
	verdict("M6", all(none("B2b", "replacements", 1), none("C2b", "replacements", 1)), "B2b C2b")
}
# As fast as published or faster, and faster than the same model without a market.
function fast(v) {
	return all(beside(v, "own_speedup_1", "", paper["speedup", v]) < 0 ? -1 : 1, \
		more("fixed", v, "own_steps_1", ""))
}
function m7() {
	ours = "B2c " show("B2c", "own_speedup_1") ", C2c " show("C2c", "own_speedup_1") " times faster"
	theirs = "9, 11.5"
	why = "without any market " show("fixed", "own_speedup_1") ", dense " \
		show("dense-active", "own_speedup_1") " (equal active) and " \
		show("dense-total", "own_speedup_1") " (equal total); steps: B2c " \
		show("B2c", "own_steps_1") ", C2c " show("C2c", "own_steps_1") ", fixed pool " \
		show("fixed", "own_steps_1")
	command = "moe-shift score --metric val_loss --level left --shift last --scratch " \
		"runs/scratch/1 runs/B2c/1"
	verdict("M7", all(fast("B2c"), fast("C2c")), "B2c C2c fixed scratch")
}
function m8() {
	ours = "B2c " show("B2c", "churn", 2) ", C2c " show("C2c", "churn", 2)
	theirs = "0, 0"
	why = "births and deaths after step 3000"
	command = counted("B2c", "C2c")
	verdict("M8", all(none("B2c", "churn", 2), none("C2c", "churn", 2)), "B2c C2c")
}
# Prose loses more without the experts that code uses least than without the next.
function needed(v,    i, n, x) {
	for (i = 1; i <= seeds; i++)
		if ((v, "prose_without_least", "", seed[i]) in value)
			x[++n] = value[v, "prose_without_least", "", seed[i]] - \
				value[v, "prose_without_next", "", seed[i]]
	return n ? side(x, n, 0) : 0
}
# Weights that are still what they were have moved by less than a tenth of their length.
function intact(v) { return not(beside(v, "drift_dormant", "", 0.1)) }
function m9() {
	ours = "weights of dormant experts move by " show("B2c", "drift_dormant") " (B2c) and " \
		show("C2c", "drift_dormant") " (C2c) of their length; without the least used of the " \
		"code prose loses " show("B2c", "prose_without_least") " and " \
		show("C2c", "prose_without_least") " nats"
	theirs = "intact weights, reactivated"
	why = "active ones move by " show("B2c", "drift_active") " and " show("C2c", "drift_active") \
		"; without the next least used prose loses " show("B2c", "prose_without_next") " and " \
		show("C2c", "prose_without_next") "; " show("B2c", "kept") " and " show("C2c", "kept") \
		" of the experts outlive the code; " show("B2c", "woken") " and " \
		show("C2c", "woken") " of the sleepers wake"
	command = "sh t/claims/market.sh runs/B2c/1 B2c 1 text runs/scratch/1"
	verdict("M9", all(needed("B2c"), needed("C2c"), intact("B2c"), intact("C2c")), "B2c C2c")
}
function m10() {
	ours = "steps back: pruned " show("prune", "same_steps_1") ", merged " \
		show("merge", "same_steps_1") ", fixed " show("fixed", "same_steps_1") ", B2c " \
		show("B2c", "same_steps_1") ", C2c " show("C2c", "same_steps_1")
	theirs = "destroyed, diluted, none, preserved"
	why = "to the loss with which the fixed pool left prose; it is back " \
		show("fixed", "own_speedup_1") " times faster than from scratch, so it remembers; " \
		"pruned " show("prune", "own_speedup_1") ", merged " show("merge", "own_speedup_1") \
		" times"
	command = "moe-shift score --metric val_loss --level left --shift last --scratch " \
		"runs/scratch/1 runs/prune/1"
	verdict("M10", all(more("prune", "B2c", "same_steps_1", ""), \
		more("merge", "B2c", "same_steps_1", ""), \
		beside("fixed", "own_speedup_1", "", 1) > 0 ? -1 : 1), "B2c fixed prune merge")
}
function m11() {
	ours = "births and deaths: C2c " show("C2c", "churn", "all") ", B2c " \
		show("B2c", "churn", "all") "; C2 " show("C2", "churn", "all") ", A2 " \
		show("A2", "churn", "all") ", B2 " show("B2", "churn", "all")
	theirs = "0 against 3 to 16 replacements"
	why = "prose at the end: C2c " show("C2c", "val_loss@end") ", B2c " \
		show("B2c", "val_loss@end") ", fixed pool " show("fixed", "val_loss@end") " nats"
	command = counted("C2c", "B2c")
	verdict("M11", all(more("B2c", "C2c", "churn", "all"), more("A2", "C2", "churn", "all"), \
		more("B2", "C2", "churn", "all"), \
		more("C2c", "B2c", "val_loss@end", "") > 0 ? -1 : 1), "A2 B2 C2 B2c C2c")
}
# The larger of two figures is at most a quarter more than the smaller.
function alike(f,    a, b) {
	a = average("scale-8x2", f)
	b = average("scale-64x12", f)
	return a <= 1.25 * b && b <= 1.25 * a ? 1 : -1
}
function sizes(v) {
	return show(v, "crossing_B") ", " show(v, "replaced") ", " show(v, "own_speedup_1")
}
function m12() {
	ours = "64 experts, 12 layers: crossing, replacements a check, times faster " \
		sizes("scale-64x12")
	theirs = "the same at any size"
	why = "8 experts, 2 layers, the same schedule: " sizes("scale-8x2") "; sd / mean of F is " \
		show("scale-64x12", "spread_B") " and " show("scale-8x2", "spread_B")
	command = counted("scale-64x12", "scale-8x2")
	verdict("M12", all(alike("crossing_B"), alike("replaced"), alike("own_speedup_1")), \
		"scale-8x2 scale-64x12")
}
function m13() {
	ours = sprintf("$%.1fM, %.1f GWh, %.0f t", worth["saving"] / 1e6, worth["energy"], worth["co2"])
	theirs = "$39.1M, 27.1 GWh, 10840 t"
	why = "the totals come out, of assumptions that were chosen so that they do; none of them is " \
		"measured, and the published split is illegible"
	command = "moe-market value --sensitivity"
	verdict("M13", worth["saving"] == 39100000 && worth["energy"] == 27.1 && \
		worth["co2"] == 10840 ? 0 : -1, "")
}
END {
	if (!people) print "id,ours,seeds,paper,verdict,why,command"
	m1(); m2(); m3(); m4(); m5(); m6(); m7(); m8(); m9(); m10(); m11(); m12(); m13()
}
