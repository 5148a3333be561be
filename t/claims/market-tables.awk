# The market's tables for people, the paper's figures beside ours: with stats.awk.

function replacements(    i, v) {
	split("A2 B2 C2 B2b C2b", v, " ")
	for (i = 1; i in v; i++) paper["all", v[i]] = paper["replacements", v[i], "all"]
	split("B2c C2c", v, " ") # of these the paper tells the phases
	for (i = 1; i in v; i++)
		paper["all", v[i]] = paper["replacements", v[i], 0] + \
			paper["replacements", v[i], 1] + paper["replacements", v[i], 2]
	print "Replacements by phase: prose, code, prose again"
	line("run", "prose|code|prose again|all|paper", 14)
	table("A2 B2 C2 B2b C2b B2t C2t B2c C2c", \
		"replacements:0 replacements:1 replacements:2 replacements:all", 14, "all")
}
function lifetimes() {
	print "\nMost replacements within 80 steps; share of the deaths that come before 50 market steps" \
		"\nof life; median life, in market steps, of the newborns that died"
	line("run", "in 80 steps|young deaths|median life", 16)
	table("A2 B2 C2 B2b C2b B2t C2t", "burst young_deaths median_life", 16)
}
function crossings(    f, s, at) {
	print "\nHow often the worst of a layer is below mean - sd, and sd / mean, by formula A, B and" \
		"\nC on the same census"
	line("census of", "A|B|C|spread A|spread B|spread C", 15)
	table("fixed even A2 B2 C2 B2c C2c", \
		"crossing_A crossing_B crossing_C spread_A spread_B spread_C", 15)
	split("A B C", f, " ")
	for (s = 1; s in f; s++) {
		print "and that with sd / mean of at least so much, by formula " f[s]
		line("census of", "0|0.2|0.4|0.6|0.8|1", 15)
		at = "x 0 0.2 0.4 0.6 0.8 1"
		gsub(/ /, " crossing_" f[s] "_spread", at)
		table("fixed even", substr(at, 3), 15)
	}
}
function losses(    i, s, t, k, v) {
	print "\nLoss around the return at step 3000: ours on prose held out, in nats; the paper's of" \
		"\nthe batch, which is code until 3000"
	line("step", "B2c|C2c|fixed|dense-active|paper B2c|paper C2c", 15)
	split("1500 2800 2950 3000 3050 3100 3150 3200 3500 4500", s, " ")
	split("B2c C2c fixed dense-active", v, " ")
	for (i = 1; i in s; i++) {
		for (k = 1; k in v; k++) t = (k > 1 ? t "|" : "") show(v[k], "val_loss@" s[i], "")
		line(s[i], t "|" in_paper("loss", "B2c" SUBSEP s[i]) "|" in_paper("loss", "C2c" SUBSEP s[i]), 15)
	}
}
function recoveries() {
	print "\nRecovery on return: steps to the loss with which prose was left, once and for three" \
		"\nvalues in a row; from scratch to the same; to the loss with which the fixed pool left" \
		"\nprose; loss at the end; how many times faster than from scratch"
	line("run", "steps|3 in a row|scratch|to the same|at 4500|faster|paper", 14)
	table("B2c C2c fixed prune merge dense-active dense-total", \
		"own_steps_1 own_steps_3 own_scratch_1 same_steps_1 val_loss@4500 own_speedup_1", 14, \
		"speedup")
}
function memories() {
	print "\nMemory.  Experts without a token in the code; with at most a quarter of a fair share in it" \
		"\nand more before (asleep), or not before either (idle); share of the sleepers that wake," \
		"\nand steps until then; share of all that outlive the code"
	line("run", "no token|asleep|idle|wake|after|outlive", 14)
	table("B2c C2c fixed even prune merge", "tokenless asleep idle woken woken_after kept", 14)
	print "How far weights moved during the code, of who was asleep or idle and of the others;" \
		"\nnats that prose, and code, lose at step 3000 without the two of each layer that code" \
		"\nuses least, and without the next two"
	line("run", "dormant|active|prose, least|prose, next|code, least|code, next", 16)
	table("B2c C2c fixed even prune merge", "drift_dormant drift_active prose_without_least " \
		"prose_without_next code_without_least code_without_next", 16)
}
function sizes() {
	print "\nScale: 64 experts in 12 layers, and 8 in 2, 300 steps each of prose, code and prose"
	line("run", "crossing B|per check|in all|steps|faster", 14)
	table("scale-8x2 scale-64x12", \
		"crossing_B replaced replacements:all own_steps_1 own_speedup_1", 14)
}
# Returns of the cycles' domains: rows of moe-shift score whose level is that of an earlier phase.
FILENAME ~ /cycles.csv$/ {
	if (!("steps" in at)) { for (i = 1; i <= NF; i++) at[$i] = i; next }
	if ($at["level"] == "" || $1 == "mean" || $1 == "sd") next
	n = split($1, path, "/")
	k = path[n - 1]
	if (!(k in returns)) cycle[++cycles] = k
	steps[k] = steps[k] " " $at["domain"] " " ($at["steps"] == "" ? "-" : $at["steps"])
	returns[k]++
}
function returned(    i) {
	if (!cycles) return
	print "\nCycles: steps of each return until the loss, mean of 25 batches, with which its text" \
		"\nwas left; - if it did not come down in 300 steps"
	for (i = 1; i <= cycles; i++) printf "  %-15s%s\n", cycle[i], steps[cycle[i]]
}
END {
	replacements()
	lifetimes()
	crossings()
	losses()
	recoveries()
	memories()
	sizes()
	returned()
}
