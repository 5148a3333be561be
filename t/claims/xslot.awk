# A table and the verdict on 20 to 30 tokens/s in less memory than the model (X2) from the figures
# of t/claims/xslot.mk: as CSV, or with -v people=1 as text.
#
# The promise holds for a shape if 20 tokens/s are reached with a quarter of the experts resident
# behind PCIe 4; it is a promise about models of a trillion parameters.

BEGIN { FS = "," }
FNR == 1 {
	for (i = 1; i <= NF; i++) at[$i] = i
	next
}
{
	name = $at["trace"]
	sub(/.*\//, "", name)
	sub(/\..*/, "", name)
	key = $at["shape"] SUBSEP name
	if (!(key in seen)) {
		seen[key] = 1
		keys[++n] = key
	}
	if ($at["predictor"] == "tree") {
		ahead[key, $at["slots"], $at["tier"]] = $at["tokens_per_s"]
		recall[name] = $at["recall"]
		twice[name] = $at["recall_2k"]
		next
	}
	slots[$at["slots"]] = 1
	hit[key, $at["slots"], $at["policy"]] = $at["hit_rate"]
	min[key, $at["slots"]] = $at["min_hit_rate"]
	rate[key, $at["slots"], $at["policy"], $at["tier"]] = $at["tokens_per_s"]
	known[key, $at["slots"], $at["policy"], $at["tier"]] = $at["known_tokens_per_s"]
}
function percent(x) { return sprintf("%5.1f", 100 * x) }
function row(v, share,    all, good) {
	all = min[v] - hit[v, "lru"]
	good = "   - "
	if (all > 0) good = percent((hit[v, "learned"] - hit[v, "lru"]) / all)
	printf "  %6.1f %%  %s %s   %s %s         %s %%                  ",
		share, percent(hit[v, "lru"]), percent(hit[v, "lfu"]),
		percent(hit[v, "learned"]), percent(min[v]), good
	printf "%6.1f %6.1f %6.1f %6.1f\n",
		rate[v, "learned", "nvme"], rate[v, "learned", "pcie3"],
		rate[v, "learned", "pcie4"], rate[v, "learned", "pcie5"]
}
function guesses(key, name) {
	printf "  At 25 %% behind PCIe 4: %.1f tokens/s; ahead with the tree %.1f;\n  had all ",
		rate[key, 32, "learned", "pcie4"], ahead[key, 32, "pcie4"]
	printf "been known a turn sooner %.1f.  The tree names %.1f %% of the experts in as many\n",
		known[key, 32, "learned", "pcie4"], 100 * recall[name]
	printf "  guesses, %.1f %% in twice as many.\n", 100 * twice[name]
}
function table(    i, k, s, part) {
	split("6 13 32 64 128", s, " ")
	for (i = 1; i <= n; i++) {
		split(keys[i], part, SUBSEP)
		printf "%s, %s\n", part[2], part[1]
		print "  resident   LRU   LFU learned   MIN  gap made good   " \
			"tokens/s (learned): nvme  pcie3  pcie4  pcie5"
		for (k = 1; k <= 5; k++)
			row(keys[i] SUBSEP s[k], 100 * s[k] / 128)
		if (part[1] == "as traced") guesses(keys[i], part[2])
		print ""
	}
	if (n)
		print "At 100 % what is missing is the first use of each, in 128 tokens.\n"
}
function behind(key, tier, number) {
	return sprintf("%.1f at 5 %% and %.1f at 25 %% behind PCIe %d",
		rate[key, 6, "learned", tier], rate[key, 32, "learned", tier], number)
}
function verdict(    i, part, ours, good, bad, word, why, command) {
	for (i = 1; i <= n; i++) {
		split(keys[i], part, SUBSEP)
		ours = ours (ours ? "; " : "") part[2] " " part[1] ": " \
			behind(keys[i], "pcie4", 4) ", " behind(keys[i], "pcie5", 5)
		if (part[1] == "trillion") {
			good += rate[keys[i], 32, "learned", "pcie4"] >= 20
			bad += rate[keys[i], 32, "learned", "pcie4"] < 20
		}
	}
	if (!n) ours = "-"
	word = !good == !bad ? "cannot tell" : good ? "reproduced" : "not reproduced"
	why = n ? "a model of two tiers; a trillion parameters with a quarter of the experts " \
		"resident behind PCIe 4 against 20 tokens/s, misses as in the traces" : "no traces"
	command = "make claims-xslot"
	if (!people) {
		print "id,ours,seeds,paper,verdict,why,command"
		printf "X2,\"%s\",1,20-30 tokens/s,%s,\"%s\",%s\n", ours, word, why, command
	} else
		printf "X2   %s\n     ours:  tokens/s: %s\n     seed:  20-30 tokens/s\n     %s\n",
			word, ours, why
}
END {
	if (people) table()
	verdict()
}
