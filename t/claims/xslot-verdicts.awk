# A verdict for each of the X-slot's claims, as CSV or with -v people=1 as text: with stats.awk and
# xslot-replay.awk.  The rules stand in moe-claims(7).

# A trillion parameters, as in xslot.mk: the bytes of all experts; a second's bytes behind PCIe 4.
function trillion_bytes() { return 60 * 384 * 24772608 }
function pcie4() { return 25.2e9 }

# 1 if all ten runs of a prompt gave the bytes of the resident one, with each seed; else -1.
function equal(prompt,    i, n, x) {
	n = sample(x, "model", "equal", prompt)
	for (i = 1; i <= n; i++)
		if (x[i] != 10) return -1
	return n ? 1 : 0
}
function x1() {
	ours = show("model", "equal", "wozniak") ", " show("model", "equal", "prose") " and " \
		show("model", "equal", "code") " of 10 runs"
	theirs = "bit-perfect"
	why = "texts of three prompts with ten budgets, policies, predictors and numbers of workers " \
		"against the resident run's"
	command = "sh t/claims/xslot.sh equal runs/model/1 1 text"
	verdict("X1", all(equal("wozniak"), equal("prose"), equal("code")), "model")
}
function behind(key, tier, number) {
	return sprintf("%.1f at 5 %% and %.1f at 25 %% behind PCIe %d",
		rate[key, 6, "learned", tier], rate[key, 32, "learned", tier], number)
}
function x2(    i, part, good, bad) {
	ours = "measured at 25 %: " show("ours", "tokens_per_s", 25) " (mapped " \
		show("mapped", "tokens_per_s", 25) ", on demand " \
		show("demand", "tokens_per_s", 25) ")"
	for (i = 1; i <= nkeys; i++) {
		split(keys[i], part, SUBSEP)
		ours = ours "; " part[2] " " part[1] ": " behind(keys[i], "pcie4", 4) ", " \
			behind(keys[i], "pcie5", 5)
		if (part[1] == "trillion") {
			good += rate[keys[i], 32, "learned", "pcie4"] >= 20
			bad += rate[keys[i], 32, "learned", "pcie4"] < 20
		}
	}
	theirs = "20-30 tokens/s"
	why = "by a model of two tiers: a trillion parameters with a quarter of the experts resident " \
		"behind PCIe 4 against 20 tokens/s, misses as in the traces"
	command = "make claims-xslot"
	verdict("X2", !nkeys || (good && bad) ? 0 : good ? 1 : -1, "ours")
}
function x3() {
	ours = show("fetch", "first_token") " s, having fetched; " show("encode", "first_token") \
		" s, having computed"
	theirs = "the latency is masked"
	why = "from the end of the typing to the first token; without anything done meanwhile " \
		show("none", "first_token") " s"
	command = "sh t/claims/xslot.sh typing runs/model/1 1 text"
	verdict("X3", more("none", "fetch", "first_token", ""), "none fetch encode")
}
function x4() {
	ours = show("leaves", "bytes") " bytes a token"
	theirs = "fewer bytes"
	why = "whole experts " show("whole", "bytes") ", leaves of which none is known to be " \
		"inactive " show("uncertain", "bytes") "; a share of " show("leaves", "skipped") \
		" of the leaves is certainly inactive"
	command = "sh t/claims/xslot.sh leaves runs/model/1 1 text"
	verdict("X4", more("whole", "leaves", "bytes", ""), "whole leaves uncertain")
}
function late(v) {
	return show(v, "late_recall") ", " show(v, "late_awaited") ", " \
		show(v, "late_first_token") " s"
}
function x5() {
	ours = "own tree: recall, leaves awaited, time to the first token: " late("own")
	theirs = "faster the more it is used"
	why = "means of sessions 6 to 10; a fresh tree " late("fresh") "; another user's " \
		late("another")
	command = "sh t/claims/xslot.sh sessions runs/model/1 1 text"
	verdict("X5", all(more("own", "fresh", "late_recall", ""), \
		more("fresh", "own", "late_awaited", ""), \
		more("fresh", "own", "late_first_token", "")), "own fresh another")
}
function x6(    scale) {
	scale = trillion_bytes() / pcie4()
	ours = show("pivot", "seconds") " s more for 200 tokens"
	theirs = "at most 1 to 2 s"
	why = "the slowest token took " show("pivot", "slowest") " s; the share of all leaves that " \
		"is read besides, " show("pivot", "share") ", is " \
		sprintf("%.2g s", scale * average("pivot", "share")) \
		" of PCIe 4 for a trillion parameters"
	command = "sh t/claims/xslot.sh pivots runs/model/1 1 text"
	verdict("X6", all(not(beside("pivot", "seconds", "", 2)), \
		not(beside("pivot", "share", "", 2 / scale))), "pivot")
}
function x7(    x) {
	ours = "a quarter resident: " show("ours", "bytes_per_token", 25) " bytes and " \
		show("ours", "cpu", 25) " s of processor a token"
	theirs = "less energy"
	why = "all resident " show("resident", "cpu") " s of processor; joules: " \
		(sample(x, "ours", "joules", 25) ? show("ours", "joules", 25) " and " \
			show("resident", "joules") : "unmeasured, no counter advances")
	command = "sh t/claims/xslot.sh budgets runs/model/1 1 text"
	verdict("X7", sample(x, "ours", "joules", 25) && sample(x, "resident", "joules") ? \
		side_of_joules() : 0, "ours resident")
}
# 1: less with a quarter resident, with each seed; -1: more; 0: neither.
function side_of_joules(    i, n, x, y, d) {
	n = sample(x, "resident", "joules")
	if (sample(y, "ours", "joules", 25) != n) return 0
	for (i = 1; i <= n; i++) d[i] = x[i] - y[i]
	return side(d, n, 0)
}
function x8() {
	ours = show("model", "equal", "wozniak") " of 10 answers have the bytes of the resident model's"
	theirs = "deterministic, and no metaphors"
	why = "the answer does not depend on what is in memory; its sense is not this model's to tell"
	command = "sh t/claims/xslot.sh equal runs/model/1 1 text"
	verdict("X8", equal("wozniak") < 0 ? -1 : 0, "model")
}
END {
	if (!people) print "id,ours,seeds,paper,verdict,why,command"
	x1(); x2(); x3(); x4(); x5(); x6(); x7(); x8()
}
