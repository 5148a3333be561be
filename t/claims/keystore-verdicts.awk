# A verdict for each of the key store's claims, as CSV or with -v people=1 as text: with stats.awk.
# The rules stand in moe-claims(7).

function loss(v) { return show(v, "val_loss", "") }
function gini(v) { return show(v, "gini", "") }
function counted(v) {
	return "moe-train --eval runs/" v "/1/ckpt.safetensors --experts-csv census.csv text/held.tok"
}

function k1() {
	ours = "Gini " gini("base") "; with keys that never move " gini("still")
	theirs = ".719"
	why = "nats on stories held out: " loss("base") ", keys that never move " loss("still") \
		", attraction to the mean " loss("mean") " (Gini " gini("mean") "), dense " \
		loss("dense") ", learned router and experts " loss("learned") " (Gini " \
		gini("learned") "), learned router over the same frozen experts " \
		loss("learned-frozen")
	command = counted("base")
	verdict("K1", all(more("still", "base", "gini", ""), more("still", "base", "val_loss", "")), \
		"base still dense learned")
}
function k2() {
	ours = "Gini without inertia " gini("no-inertia") ", with it " gini("base")
	theirs = ".87 and .719"
	why = "nats " loss("no-inertia") " and " loss("base") "; never used on stories held out: " \
		show("no-inertia", "unused") " and " show("base", "unused") " of the experts"
	command = counted("no-inertia")
	verdict("K2", more("no-inertia", "base", "gini", ""), "base no-inertia")
}
function k3() {
	ours = "perplexity: sparse " show("base", "perplexity") ", default " \
		show("default", "perplexity") ", orthogonal " show("orthogonal", "perplexity")
	theirs = "3.34, 3.36, 3.38"
	why = "Gini " gini("base") ", " gini("default") ", " gini("orthogonal") \
		"; sparse experts are also the smallest: normal ones, not sparse, of standard deviation 0.02 have " \
		show("normal", "perplexity") ", those of two models of code and law " \
		show("pretrained", "perplexity")
	command = "tail -n 1 runs/base/1/loss.csv runs/default/1/loss.csv runs/orthogonal/1/loss.csv"
	verdict("K3", all(more("default", "base", "val_loss", ""), \
		more("orthogonal", "default", "val_loss", "")), "base default orthogonal")
}
function k4() {
	ours = "with peer-pull and without: modularity " show("base", "modularity") " and " \
		show("no-beta", "modularity") ", silhouette " show("base", "silhouette") " and " \
		show("no-beta", "silhouette")
	theirs = "galaxies and a cloud"
	why = "keys that never move: " show("still", "modularity") " and " show("still", "silhouette") \
		"; without attraction " show("no-alpha", "modularity") " and " \
		show("no-alpha", "silhouette") "; learned router " show("learned", "modularity") \
		" and " show("learned", "silhouette") "; nats " loss("base") " and " loss("no-beta")
	command = "moe-knn galaxy --stats - -o stars.csv runs/base/1/ckpt.safetensors:0 trace.csv"
	verdict("K4", all(more("base", "no-beta", "modularity", ""), \
		more("base", "no-beta", "silhouette", "")), "base no-beta still")
}
function k5() {
	ours = "linear, 128 and 512 experts: Gini " gini("linear-128") " and " gini("linear-512") \
		", nats " loss("linear-128") " and " loss("linear-512") "; mlp, 512: " \
		gini("mlp-512") ", " loss("mlp-512")
	theirs = ".721 and .980, perplexity 1.91 and 5.09; mlp, 256: .93, 2.04"
	why = "256 experts: linear " gini("linear-256") ", " loss("linear-256") "; mlp " \
		gini("base") ", " loss("base") "; mlp, 128: " gini("mlp-128") ", " loss("mlp-128")
	command = counted("linear-512")
	verdict("K5", all(more("linear-512", "linear-128", "gini", ""), \
		more("linear-512", "linear-128", "val_loss", ""), \
		more("linear-512", "mlp-512", "gini", ""), \
		more("linear-512", "mlp-512", "val_loss", "")), \
		"linear-128 linear-512 mlp-512")
}
# By seed what two doublings gain, from v to w; into x, how many.
function gains(x, v, w,    i, n) {
	for (i = 1; i <= seeds; i++)
		if ((v, "val_loss", "", seed[i]) in value && (w, "val_loss", "", seed[i]) in value)
			x[++n] = value[v, "val_loss", "", seed[i]] - value[w, "val_loss", "", seed[i]]
	return n + 0
}
function gain(v, w,    x, n, d) {
	n = gains(x, v, w)
	if (!n) return "-"
	return n == 1 ? sprintf("%.3f", x[1]) : sprintf("%.3f ± %.3f", mean(x, n), deviation(x, n))
}
# 1: the first gain is the larger.
function larger(v, w, v2, w2,    x, y, n, i) {
	n = gains(x, v, w)
	if (!n || gains(y, v2, w2) != n) return 0
	for (i = 1; i <= n; i++) x[i] -= y[i]
	return side(x, n, 0)
}
function k6() {
	ours = "nats gained by four times the context " gain("seq-64", "seq-256") ", the depth " \
		gain("layers-1", "layers-4") ", the updates of as many tokens " \
		gain("batch-16", "batch-4")
	theirs = "perplexity 3.34 to 1.70 (context doubled), 2.37 to 2.03 (depth by a quarter)"
	why = "four layers for as many operations as two instead of as many tokens: " \
		gain("base", "layers-4-short") " over two layers; keys that move every 4th and " \
		"16th step instead of each: " gain("base", "every-4") " and " \
		gain("base", "every-16")
	command = "tail -n 1 runs/seq-64/1/loss.csv runs/seq-256/1/loss.csv"
	verdict("K6", all(larger("seq-64", "seq-256", "layers-1", "layers-4"), \
		larger("layers-1", "layers-4", "batch-16", "batch-4")), \
		"seq-64 seq-256 layers-1 layers-4 batch-16 batch-4")
}
function of_layers(v, f,    i, t) {
	for (i = 0; i < 4; i++) t = t (i ? ", " : "") show(v, f, i)
	return t
}
function k7() {
	ours = "word " of_layers("layers-4", "word") "; context " of_layers("layers-4", "context")
	theirs = "lexical, semantic, contextual"
	why = "of the entropy of the choices, by layer; form as a part of the word " \
		of_layers("layers-4", "form") "; learned router: word " \
		of_layers("learned-4", "word") "; context " of_layers("learned-4", "context")
	command = "moe-knn trace --bpe text/bpe --stats - -o walk.csv " \
		"runs/layers-4/1/ckpt.safetensors text/held"
	verdict("K7", all(beside("layers-4", "word_drop", "", 0), \
		beside("layers-4", "context_rise", "", 0)), "layers-4 learned-4")
}
function k8() {
	ours = "nats of stories that the code cost " show("trip", "forgot") "; learned router and experts " \
		show("trip-learned", "forgot") ", dense " show("trip-dense", "forgot")
	theirs = "no catastrophic forgetting, by design"
	why = "learned router over the same frozen experts " show("trip-frozen", "forgot") \
		"; left at " show("trip", "left_at") ", " show("trip-learned", "left_at") ", " \
		show("trip-dense", "left_at") ", " show("trip-frozen", "left_at") "; back in " \
		show("trip", "back_steps") ", " show("trip-learned", "back_steps") ", " \
		show("trip-dense", "back_steps") ", " show("trip-frozen", "back_steps") " steps"
	command = "moe-shift score --metric val_loss --level left --shift last runs/trip/1"
	verdict("K8", all(more("trip-learned", "trip", "forgot", ""), \
		more("trip-dense", "trip", "forgot", "")), "trip trip-learned trip-dense")
}
function k9() {
	ours = "routing takes " show("n-65536", "routing_share") " of a step with 65536 experts, " \
		show("n-64", "routing_share") " with 64; nats " loss("n-64") ", " loss("n-1024") \
		", " loss("n-4096") " with 64, 1024 and 4096"
	theirs = "millions, by an index"
	why = "ms " show("n-64", "routing_ms") ", " show("n-1024", "routing_ms") ", " \
		show("n-4096", "routing_ms") ", " show("n-16384", "routing_ms") ", " \
		show("n-65536", "routing_ms") "; 16384 experts: " loss("n-16384") " nats"
	command = "moe-train --router keystore --layers 1 --hidden 16 --experts 65536 --timing -"
	verdict("K9", all(more("n-64", "n-4096", "val_loss", ""), \
		average("n-65536", "routing_share") < 0.5 ? 1 : -1), "n-64 n-1024 n-4096 n-65536")
}
END {
	if (!people) print "id,ours,seeds,paper,verdict,why,command"
	k1(); k2(); k3(); k4(); k5(); k6(); k7(); k8(); k9()
}
