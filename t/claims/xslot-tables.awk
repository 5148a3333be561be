# The X-slot's tables, as text: with stats.awk and xslot-replay.awk.

function percent(x) { return sprintf("%5.1f", 100 * x) }
function shares(f,    i, n, s, text) {
	n = split("5 10 25 50 100", s, " ")
	for (i = 1; i <= n; i++) text = text " " f ":" s[i]
	return substr(text, 2)
}
function sessions(f,    i, text) {
	for (i = 1; i <= 10; i++) text = text " " f ":" i
	return substr(text, 2)
}
function heading(text, first, list, wide) {
	print text
	line(first, list, wide)
}
function measured() {
	heading("Tokens/s with so many percent of the leaves in memory", "", "5|10|25|50|100", 15)
	table("ours ahead demand mapped", shares("tokens_per_s"), 15)
	print "  all resident: " show("resident", "tokens_per_s") "\n"
	heading("Of the leaves that were needed, those that were there", "", "5|10|25|50|100", 15)
	table("ours ahead demand", shares("hit_rate"), 15)
	print ""
	heading("Bytes read per token", "", "5|10|25|50|100", 19)
	table("ours ahead demand", shares("bytes_per_token"), 19)
	print ""
	heading("Of the experts that were used, those that were there, and Belady's limit", "", \
		"5|10|25|50|100", 15)
	table("lru lfu learned", shares("expert_hits"), 15)
	line("limit", limits(), 15)
	print ""
}
function limits(    i, n, s, text) {
	n = split("5 10 25 50 100", s, " ")
	for (i = 1; i <= n; i++) text = text (i > 1 ? "|" : "") show("lru", "expert_limit", s[i])
	return text
}
function used() {
	heading("Recall of the tree by session", "", "1|2|3|4|5|6|7|8|9|10", 15)
	table("own fresh another", sessions("recall"), 15)
	heading("Seconds to the first token by session", "", "1|2|3|4|5|6|7|8|9|10", 15)
	table("own fresh another", sessions("first_token"), 15)
	heading("Leaves awaited until then", "", "1|2|3|4|5|6|7|8|9|10", 15)
	table("own fresh another", sessions("awaited"), 15)
	print ""
	heading("Bytes per token for the same text", "", "bytes|certain", 19)
	table("whole uncertain leaves", "bytes skipped", 19)
	heading("Seconds from the end of the typing to the first token", "", "seconds", 19)
	table("none fetch encode", "first_token", 19)
	heading("A change of subject", "", "seconds|share of leaves|slowest token", 19)
	table("pivot", "seconds share slowest", 19)
	print ""
}

# --- replays of large models ---

function row(v, share,    gap, good) {
	gap = min[v] - hit[v, "lru"]
	good = "   - "
	if (gap > 0) good = percent((hit[v, "learned"] - hit[v, "lru"]) / gap)
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
		known_rate[key, 32, "learned", "pcie4"], 100 * recall[name]
	printf "  guesses, %.1f %% in twice as many.\n", 100 * twice[name]
}
function replays(    i, k, s, part) {
	split("6 13 32 64 128", s, " ")
	for (i = 1; i <= nkeys; i++) {
		split(keys[i], part, SUBSEP)
		printf "%s, %s\n", part[2], part[1]
		print "  resident   LRU   LFU learned   MIN  gap made good   " \
			"tokens/s (learned): nvme  pcie3  pcie4  pcie5"
		for (k = 1; k <= 5; k++)
			row(keys[i] SUBSEP s[k], 100 * s[k] / 128)
		if (part[1] == "as traced") guesses(keys[i], part[2])
		print ""
	}
	if (nkeys)
		print "At 100 % what is missing is the first use of each, in 128 tokens."
}
END {
	names = 11
	measured()
	used()
	replays()
}
