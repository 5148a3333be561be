# The replays of xslot.mk, replay.csv: what the tables and verdicts need of them.  A key is a shape
# and a trace's name.
FILENAME ~ /replay.csv$/ && FNR == 1 {
	for (i = 1; i <= NF; i++) at[$i] = i
}
FILENAME ~ /replay.csv$/ && FNR > 1 {
	name = $at["trace"]
	sub(/.*\//, "", name)
	sub(/\..*/, "", name)
	key = $at["shape"] SUBSEP name
	if (!(key in replayed)) {
		replayed[key]
		keys[++nkeys] = key
	}
	if ($at["predictor"] == "tree") {
		ahead[key, $at["slots"], $at["tier"]] = $at["tokens_per_s"]
		recall[name] = $at["recall"]
		twice[name] = $at["recall_2k"]
		next
	}
	hit[key, $at["slots"], $at["policy"]] = $at["hit_rate"]
	min[key, $at["slots"]] = $at["min_hit_rate"]
	rate[key, $at["slots"], $at["policy"], $at["tier"]] = $at["tokens_per_s"]
	known_rate[key, $at["slots"], $at["policy"], $at["tier"]] = $at["known_tokens_per_s"]
}
