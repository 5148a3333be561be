# Every figure's mean and standard deviation over seeds, as CSV: with stats.awk.
END {
	print "variant,figure,phase,seeds,mean,sd"
	for (k in value) {
		split(k, key, SUBSEP)
		if (!((key[1], key[2], key[3]) in done)) {
			done[key[1], key[2], key[3]]
			n = sample(x, key[1], key[2], key[3])
			sd = n > 1 ? sprintf("%.9g", deviation(x, n)) : ""
			printf "%s,%s,%s,%d,%.9g,%s\n", key[1], key[2], key[3], n, mean(x, n), sd | "sort"
		}
	}
}
