# The living layer's tables for people, the post's figures beside ours: with stats.awk.

BEGIN { names = 15 }
function post(figure, name,    i) {
	line(name, in_paper("standard", figure) "|" show("fixed", figure, "") "|" \
		in_paper("alive", figure) "|" show("living", figure, "") "|" show("grown", figure, ""), 16)
}
END {
	print "The post's table, after 100,000 steps; ours, all layers together"
	line("", "standard: post|ours|living: post|ours|ours, grown", 16)
	post("val_loss", "loss, nats")
	post("experts", "experts")
	post("births", "births")
	post("deaths", "deaths")
	post("rebuilds", "rebuilds")
	printf "\nA chaotic sequence: loss held out and of the last batches; no predictor is below %s\n", \
		show("chaos", "floor_at_most", "")
	line("", "held out|last|experts|births|deaths|by Phi|escapes", 16)
	table("fixed fixed-router fixed-params fixed-flops living no-mitosis no-apoptosis no-escape " \
		"no-phi phi-product plateau-off plateau-ball plateau-waves grown grown-params", \
		"val_loss loss experts births deaths phi_births escapes", 16)
	print "\nProse"
	line("", "held out|last|experts|births|deaths|by Phi|escapes", 16)
	table("prose-fixed prose-params prose-flops prose-living", \
		"val_loss loss experts births deaths phi_births escapes", 16)
	print "\nPhi at the end, and what removing an expert costs, nats per token that it would have had"
	line("", "diversity|product|distance|integration|cost", 16)
	table("fixed fixed-router fixed-params living no-mitosis no-apoptosis phi-product grown", \
		"diversity product distance integration cost", 16)
}
