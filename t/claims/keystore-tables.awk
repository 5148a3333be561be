# The key store's tables for people, the paper's figures beside ours: with stats.awk.

FILENAME ~ /tables.csv$/ && $1 != "variant" { paper[$2, $1] = $3 }

function gravity() {
	print "Gravity: 256 frozen experts of which a token uses 4, in 2 layers.  Nats and perplexity of" \
		"\nstories held out; Gini and entropy of usage there, the share never used; modularity of" \
		"\nwho works with whom, and the mean silhouette of the keys of those used"
	line("run", "nats|perplexity|Gini|entropy|unused|modularity|silhouette|Gini, paper", 15)
	table("base no-inertia no-alpha no-beta no-forgetting still mean sphere learned", \
		"val_loss perplexity gini entropy unused modularity silhouette", 15, "gini")
	table("learned-frozen dense", "val_loss perplexity gini entropy unused", 15)
}
function starts() {
	paper["perplexity", "base"] = paper["perplexity", "sparse"]
	print "\nHow frozen experts begin (base: sparse)"
	line("run", "nats|Gini|perplexity|paper", 15)
	table("base default orthogonal normal pretrained", "val_loss gini perplexity", 15, "perplexity")
}
function routers() {
	paper["gini", "base"] = paper["gini", "mlp-256"]
	print "\nThe query network and the number of experts (base: mlp, 256)"
	line("run", "nats|unused|Gini|paper", 15)
	table("linear-128 linear-256 linear-512 mlp-128 base mlp-512", "val_loss unused gini", 15, "gini")
}
function measures() {
	print "\nContext, depth and frequency of the updates (base: 128 tokens, 2 layers, batches of 8," \
		"\neach step)"
	line("run", "nats|perplexity|Gini", 15)
	table("seq-64 base seq-256", "val_loss perplexity gini", 15)
	table("layers-1 base layers-4 layers-4-short", "val_loss perplexity gini", 15)
	table("batch-16 base batch-4", "val_loss perplexity gini", 15)
	table("base every-4 every-16", "val_loss perplexity gini", 15)
}
function knows() {
	print "\nWhat the first choice of each layer knows, in shares of its entropy: the word; the one" \
		"\nbefore it, given the word; and how much of what it knows of the word is its form"
	line("run", "layer 0|layer 1|layer 2|layer 3", 15)
	print "the word"
	table("layers-4 learned-4 base learned", "word:0 word:1 word:2 word:3", 15)
	print "the one before"
	table("layers-4 learned-4 base learned", "context:0 context:1 context:2 context:3", 15)
	print "its form"
	table("layers-4 learned-4 base learned", "form:0 form:1 form:2 form:3", 15)
}
function trips() {
	print "\nStories, code, stories: nats of stories at step 400, what the code cost of them by step" \
		"\n800, what is left of that 20 steps later, and steps until they are back"
	line("run", "left at|forgot|after 20|back in", 15)
	table("trip trip-frozen trip-learned trip-dense", "left_at forgot after_20 back_steps", 15)
}
function sizes() {
	print "\nThe number of experts, of 16 neurons in one layer; one core, beside other work"
	line("run", "nats|Gini|step, ms|routing, ms|share", 15)
	table("n-64 n-256 n-1024 n-4096 n-16384 n-65536", \
		"val_loss gini step_ms routing_ms routing_share", 15)
}
END {
	names = 15
	gravity()
	starts()
	routers()
	measures()
	knows()
	trips()
	sizes()
}
