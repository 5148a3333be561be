# The ecology's tables for people, the paper's figures beside ours: with stats.awk.

BEGIN { names = 20 }
# Each of the words behind a prefix.
function each(prefix, list,    n, i, w, out) {
	n = split(list, w, " ")
	for (i = 1; i <= n; i++) out = out (i > 1 ? " " : "") prefix w[i]
	return out
}
# A row for each variant: ours by figures, then what the paper's table tells of theirs.
function beside_paper(number, variants, figures, theirs, wide,    v, f, i, k, n, m, r, part, t) {
	n = split(variants, v, " ")
	for (i = 1; i <= n; i++) {
		t = ""
		m = split(figures, f, " ")
		for (k = 1; k <= m; k++) {
			split(f[k] ":", part, ":")
			t = t (k > 1 ? "|" : "") show(v[i], part[1], part[2])
		}
		m = split(theirs, f, " ")
		for (k = 1; k <= m; k++) {
			split(f[k] ":", part, ":")
			t = t "|" published(number, v[i], part[1], part[2])
		}
		line(v[i], t, wide)
	}
}
# t100 stands where the paper has CIFAR-100.
function published(number, v, f, p) {
	if ((number, v, f, p) in paper) return paper[number, v, f, p]
	sub(/^t100-/, "c100-", v)
	return (number, v, f, p) in paper ? paper[number, v, f, p] : "-"
}
# Phases as columns: one figure at each tenth, and the paper's below.
function course(number, v, figure, label,    p, t, u, any) {
	for (p = 0; p <= 100; p += 10) {
		t = t (p ? "|" : "") show(v, figure, p)
		u = u (p ? "|" : "") published(number, v, figure, p)
		any = any || published(number, v, figure, p) != "-"
	}
	line(label, t, 14)
	if (number && any) line("  paper", u, 14)
}
function tenths() { line("% of the run", "0|10|20|30|40|50|60|70|80|90|100", 14) }

function phase_map() {
	print "Table 1. Phase map: accuracy, PURE_CORE, BROAD_CORE and dead experts of 16 at the end;" \
		"\nthe paper's top-2 accuracy and PURE_CORE on CIFAR-100"
	line("set-E", "accuracy|pure|broad|dead|gini|paper|paper pure", 16)
	beside_paper(1, each("c10-", "p014 p035 p044 p065") " " each("t100-", "p014 p035 p044 p065") \
		" " each("t200-", "p014 p035 p044 p065") " " each("o242-", "p014 p035 p044 p065"), \
		"accuracy pure_core broad_core dead gini", "top2 pure_core", 16)
}
function orthos(    i, v, s, k, t) {
	print "\nTable 2. Dead experts at E = 0.545 by ortho (of 16; of 32 in lm); the paper: none"
	line("set", "0|0.02|0.05|0.10|0.20", 16)
	split("c10 t100 lm", s, " ")
	split("base ortho02 ortho05 ortho10 ortho20", v, " ")
	for (i = 1; i in s; i++) {
		t = ""
		for (k = 1; k in v; k++) t = t (k > 1 ? "|" : "") show(s[i] "-" v[k], "dead", "")
		line(s[i], t, 16)
	}
}
function language() {
	print "\nTable 3. Language at E = 0.545, WikiText-2 subset: perplexity a token, that of the tokens'" \
		"\nfrequencies alone, accuracy, dead of 32; lm-gpt2 has GPT-2's 50257 tokens, of which a" \
		"\nuniform guess has 50257; the others 2048.  Below: E 0.3, and without the four terms"
	line("run", "perplexity|unigram|accuracy|dead|gini|paper|paper dead", 16)
	beside_paper(3, "lm-gpt2 lm-base lm-ortho02 lm-ortho05 lm-ortho10 lm-ortho20 lm-over lm-low " \
		"lm-none lm-load lm-free", "perplexity unigram accuracy dead gini", "ppl dead", 16)
}
function low_e() {
	print "\nTable 4 and section 4.5. CIFAR-10 at E = 0.545, 0.3 and with ortho 0.10; whole: encoder and" \
		"\nexperts in one, five epochs"
	line("run", "accuracy|dead|most dead|pure|gini|paper|paper dead", 16)
	beside_paper(4, "c10-base c10-low c10-low-ortho10 c10-whole c10-whole-low", \
		"accuracy dead most_dead pure_core gini", "accuracy dead", 16)
}
function complexity() {
	print "\nTable 5. Classes at E = 0.545 (t10, t100: 10 and 100 classes of TinyImageNet-200)"
	line("run", "accuracy|dead|at 30 %|at 50 %|gini|paper|paper dead", 16)
	beside_paper(5, "t10-base c10-base t100-base t200-base o242-base t200-whole", \
		"accuracy dead dead:30 dead:50 gini", "accuracy dead", 16)
	print "\nTable 6. TinyImageNet-200: E raised to 1, and 32 experts, at 40 % and at the end"
	line("run", "accuracy, 40 %|dead, 40 %|accuracy|dead|pure|paper|paper dead", 16)
	beside_paper(6, "t200-base t200-e1 t200-32", "accuracy:40 dead:40 accuracy dead pure_core", \
		"accuracy:40 dead:40", 16)
}
function revival(    i, v) {
	print "\nTable 7. Dead and active experts of TinyImageNet-200 at E = 0.545 over the run, 0 its first" \
		"\ncensus; routed at random up to 15 %.  The paper's do not sum to 16"
	tenths()
	course(7, "t200-base", "dead", "t200-base dead")
	course(7, "t200-base", "active", "t200-base active")
	print "The six conditions: dead"
	split("base nobalance nodivergence noanneal noentropy noproto", v, " ")
	for (i = 1; i in v; i++) course("", "t200-" v[i], "dead", "t200-" v[i])
	line("run", "most dead|dead|since, share|revivals|3 in a row|accuracy", 16)
	table(each("t200-", "base nobalance nodivergence noanneal noentropy noproto"), \
		"most_dead dead alive_at revivals revivals_3 accuracy", 16)
	print "\nE lowered by T, H or B, 3: to 0.3, 1: to 0.1, T and the rate constant; dead at 50 % and at" \
		"\nthe end, kept low, and with E restored at 50 %"
	line("run", "dead, 50 %|kept: dead|gini|restored: dead|gini", 16)
	split("c10-T3 c10-T1 c10-H3 c10-H1 c10-B3 c10-B1", v, " ")
	for (i = 1; i in v; i++)
		line(v[i], show(v[i], "dead", 50) "|" show(v[i], "dead", "") "|" \
			show(v[i], "gini", "") "|" show(v[i] "-back", "dead", "") "|" \
			show(v[i] "-back", "gini", ""), 16)
}
function warmth() {
	print "\nTable 8. Warm-up (t100); since: the share of the run after which nobody is dead; the paper's" \
		"\nepoch of 100"
	line("run", "accuracy|pure|dead|most dead|since|paper top-2|pure|since", 14)
	beside_paper(8, "t100-base t100-ortho10 t100-nowarm t100-nowarm-ortho10", \
		"accuracy pure_core dead most_dead alive_at", "top2 pure_core alive_at", 14)
}
function tiers(    i, j, k, v, t, u) {
	print "\nTable 9. Tiers at the end: usage, active experts, hard samples (confidence below 0.4)"
	line("run", "usage 0|1|2|active 0|1|2|hard 0|1|2", 14)
	split("t200-32 t200-e1", v, " ")
	for (k = 1; k in v; k++) {
		t = show(v[k], "tier0", "") "|" show(v[k], "tier1", "") "|" show(v[k], "tier2", "") \
			"|" show(v[k], "active0", "") "|" show(v[k], "active1", "") "|" \
			show(v[k], "active2", "") "|" show(v[k], "hard0", "") "|" \
			show(v[k], "hard1", "") "|" show(v[k], "hard2", "")
		line(v[k], t, 14)
		line("  paper", published(9, v[k], "tier0", "") "|" published(9, v[k], "tier1", "") "|" \
			published(9, v[k], "tier2", "") "|" published(9, v[k], "active0", "") "|" \
			published(9, v[k], "active1", "") "|" published(9, v[k], "active2", ""), 14)
	}
	print "\nTable 10. Flow from the tier of the first choice to that of the second: share of all samples" \
		"\n(joint), of those with that first choice (conditional), and by how many standard deviations" \
		"\nof 1000 random labellings the joint share is beyond their mean"
	line("run", "to 0|1|2|paper: to 0|1|2|if from it: 0|1|2|beyond: 0|1|2", 14)
	for (k = 1; k in v; k++)
		for (i = 0; i < 3; i++) {
			t = u = ""
			for (j = 0; j < 3; j++) t = t show(v[k], "flow" i j, "") "|"
			for (j = 0; j < 3; j++) t = t published(10, v[k], "flow" i j, "") "|"
			for (j = 0; j < 3; j++) t = t show(v[k], "conditional" i j, "") "|"
			for (j = 0; j < 3; j++) t = t (j ? "|" : "") show(v[k], "beyond" i j, "")
			line(v[k] " from " i, t, 14)
		}
}
function heat(    k, v, i, T) {
	print "\nTable 11. Temperatures at fixed weights: loss, accuracy (chance 0.005), entropy of p over" \
		"\nln E, weight of the first choice, share of samples whose first choice or pair moved, hard" \
		"\nsamples of T0 over T2, active in T0"
	line("run, T", "loss|accuracy|entropy|weight|first|pair|hard 0/2|active 0|paper|hard|active", 14)
	split("t200-32 t200-e1", v, " ")
	split("0.1 0.3 0.5 0.7 1 2 5", T, " ")
	for (k = 1; k in v; k++)
		for (i = 1; i in T; i++)
			line(v[k] " " T[i], show(v[k], "heat_loss", T[i]) "|" \
				show(v[k], "heat_accuracy", T[i]) "|" show(v[k], "heat_entropy", T[i]) "|" \
				show(v[k], "heat_weight", T[i]) "|" show(v[k], "heat_first_moved", T[i]) "|" \
				show(v[k], "heat_set_moved", T[i]) "|" show(v[k], "hard_ratio", T[i]) "|" \
				show(v[k], "active0", T[i]) "|" published(11, v[k], "accuracy", T[i]) "|" \
				published(11, v[k], "hard_ratio", T[i]) "|" \
				published(11, v[k], "active0", T[i]), 14)
}
function depths(    i, s) {
	print "\nTable 12. Four tiers of 4 at E = 2.29 on TinyImageNet-200, over the run, means and then" \
		"\neach seed"
	tenths()
	course(12, "t200-four", "accuracy", "accuracy")
	course(12, "t200-four", "dead", "dead")
	for (i = 0; i < 4; i++) course(12, "t200-four", "tier" i, "tier " i)
	for (s = 1; s <= seeds; s++)
		for (i = 0; i < 4; i++) alone("t200-four", seed[s], "tier" i)
	print "\nTable 13. Depth at the end: tiers with a tenth of the usage, exp(entropy), tiers that fell" \
		"\nbelow 2 % and came back to 5 %"
	line("run", "accuracy|dead|used|depth|cycles|paper|dead|used", 14)
	beside_paper(13, "c10-four t100-four t200-four", "accuracy dead used depth cycles", \
		"accuracy dead used", 14)
	print "\nTable 14. Four tiers and none, the same seeds: labels change nothing"
	line("run", "accuracy|range|dead|paper|dead", 16)
	beside_paper(14, "c10-four c10-flat t100-four t100-flat t200-four", \
		"accuracy accuracy_range dead", "accuracy dead", 16)
}
function alone(v, s, figure,    p, t) {
	for (p = 0; p <= 100; p += 10) t = t (p ? "|" : "") sprintf("%.3f", value[v, figure, p, s])
	line("  seed " s " " figure, t, 14)
}
function many(    i, k, t, word) {
	print "\nTable 15. Seeds of t200-four: accuracy, dead, usage of the tiers"
	line("seed", "accuracy|dead|0|1|2|3|paper|dead|0|1|2|3", 10)
	split("A B C", word, " ")
	for (i = 1; i <= seeds; i++) {
		t = value["t200-four", "accuracy", "", seed[i]] "|" \
			value["t200-four", "dead", "", seed[i]]
		for (k = 0; k < 4; k++)
			t = t "|" sprintf("%.3f", value["t200-four", "tier" k, "", seed[i]])
		t = t "|" published(15, "t200-four", "accuracy", word[i]) "|" \
			published(15, "t200-four", "dead", word[i])
		for (k = 0; k < 4; k++) t = t "|" published(15, "t200-four", "tier" k, word[i])
		line(seed[i], t, 10)
	}
	print "Two by two: accuracies differ by " show("t200-four", "pair_accuracy", "") \
		", usage of tiers by " show("t200-four", "pair_tiers", "") \
		",\nof experts sorted by usage, which no renaming explains, by " \
		show("t200-four", "pair_sorted", "")
	print "\nTable 16. The last nine censuses: standard deviation and range"
	line("run", "accuracy sd|range|tier 0|tier 1|tier 2|tier 3|dead", 14)
	table("c10-four t100-four t200-four t200-base c10-T3-back", \
		"accuracy_sd accuracy_range tier0_range tier1_range tier2_range tier3_range dead_range", 14)
	for (i = 1; i <= 3; i++)
		line("  paper " word[i], published(16, "t200-four", "accuracy_sd", word[i]) "|" \
			published(16, "t200-four", "accuracy_range", word[i]), 14)
}
function parts() {
	print "\nBeyond the paper.  E = 0.545 in seven ways: T, H, O and B at equal E"
	line("run", "healthy|accuracy|dead|at 30 %|pure|gini|entropy", 16)
	table(each("c10-", "base eq-T9 eq-T1 eq-O eq-B eq-x4 eq-x10th") " " each("t100-", \
		"base eq-T9 eq-T1 eq-O eq-B eq-x4 eq-x10th"), \
		"healthy accuracy dead dead:30 pure_core gini entropy", 16)
	print "One of the four at a time: E = 0.18 (T1, H033, O150, B150), 0.75 (O0), 1.64 (T9, H3, B003)"
	line("run", "healthy|accuracy|dead|at 30 %|pure|gini|entropy", 16)
	table(each("c10-", "one-T1 one-H033 one-O150 one-B150 one-O0 one-T9 one-H3 one-B003"), \
		"healthy accuracy dead dead:30 pure_core gini entropy", 16)
	print "None of them; the load-balance loss at 0.01; loss-free balancing at 0.001; the four with" \
		"\nnormalised losses; tau of the oracle 0.1, 0.3, 1 and 3"
	line("run", "accuracy|dead|most dead|pure|gini|entropy|maxvio", 16)
	table(each("c10-", "none load free norm") " " each("t100-", "none load free norm") " " \
		each("c10-", "tau01 tau03 base tau3"), \
		"accuracy dead most_dead pure_core gini entropy maxvio", 16)
}
END {
	phase_map()
	orthos()
	language()
	low_e()
	complexity()
	revival()
	warmth()
	tiers()
	heat()
	depths()
	many()
	parts()
}
