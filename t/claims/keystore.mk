# The key store's claims, tested: `make claims-keystore` in the project's root, see moe-claims(7).
# Variables: STORIES CODE (texts; else those of this machine), CLAIMS_DIR (where it all goes), SEEDS.

SET = keystore
inputs = $D/figures.csv testdata/keystore/tables.csv
shown = plots
include t/claims/claims.mk

MOE_STEPS = 500
MOE_DATA = $T/stories.tok
MOE_OPTIONS = --dim 64 --heads 4 --layers 2 --experts 256 --hidden 128 --top-k 4 --seq 128 --batch 8 \
	--lr 5e-3 --warmup 50 --census-every 50
held = --val $T/held.tok

# The store as published, without each of its rules, and with keys that never move.
GRAVITY = base no-inertia no-alpha no-beta no-forgetting still mean sphere
store = --router keystore --attraction sum $(held)
MOE_OPTIONS.base = $(store)
MOE_OPTIONS.no-inertia = $(store) --no-inertia
MOE_OPTIONS.no-alpha = $(store) --alpha 0
MOE_OPTIONS.no-beta = $(store) --beta 0
MOE_OPTIONS.no-forgetting = $(store) --delta 0
MOE_OPTIONS.still = $(store) --alpha 0 --beta 0 --delta 0
MOE_OPTIONS.mean = $(store) --attraction mean
MOE_OPTIONS.sphere = $(store) --key-norm sphere

# Other starts; the last with experts of two models that have read other texts.
STARTS = default orthogonal normal pretrained
MOE_OPTIONS.default = $(store) --expert-init default
MOE_OPTIONS.orthogonal = $(store) --expert-init orthogonal
MOE_OPTIONS.normal = $(store) --expert-init normal
MOE_OPTIONS.pretrained = $(store) \
	--expert-init pretrained:$(subst $() ,$(moe_comma),$(strip $(schools)))
schools = $(foreach v,school-code school-law,$R/$v/$(first)/ckpt.safetensors)
MOE_OPTIONS.school-code = --experts 128
MOE_OPTIONS.school-law = --experts 128
MOE_DATA.school-code = $T/code.tok
MOE_DATA.school-law = $T/law.tok

# Routers of one matrix and of two, among more and more experts.
ROUTERS = linear-128 linear-256 linear-512 mlp-128 mlp-512
MOE_OPTIONS.linear-128 = $(store) --query linear --experts 128
MOE_OPTIONS.linear-256 = $(store) --query linear
MOE_OPTIONS.linear-512 = $(store) --query linear --experts 512
MOE_OPTIONS.mlp-128 = $(store) --experts 128
MOE_OPTIONS.mlp-512 = $(store) --experts 512

# Controls: a learned router of experts that learn, of the same frozen ones, and a dense model with
# as many active parameters.
CONTROLS = learned learned-frozen dense
MOE_OPTIONS.learned = $(held) --router linear
MOE_OPTIONS.learned-frozen = $(held) --router linear --freeze-experts --expert-init sparse
MOE_OPTIONS.dense = $(held) --dense --hidden 512

# Context, depth and frequency of the updates, at equal tokens; depth also at equal operations.
MEASURES = seq-64 seq-256 layers-1 layers-4 layers-4-short learned-4 batch-4 batch-16 every-4 every-16
MOE_OPTIONS.seq-64 = $(store) --seq 64 --batch 16
MOE_OPTIONS.seq-256 = $(store) --seq 256 --batch 4
MOE_OPTIONS.layers-1 = $(store) --layers 1
MOE_OPTIONS.layers-4 = $(store) --layers 4
MOE_OPTIONS.layers-4-short = $(store) --layers 4
MOE_OPTIONS.learned-4 = $(MOE_OPTIONS.learned) --layers 4
MOE_STEPS.layers-4-short = 250
MOE_OPTIONS.batch-4 = $(store) --batch 4
MOE_OPTIONS.batch-16 = $(store) --batch 16
MOE_STEPS.batch-4 = 1000
MOE_STEPS.batch-16 = 250
MOE_OPTIONS.every-4 = $(store) --key-every 4
MOE_OPTIONS.every-16 = $(store) --key-every 16

# Stories, code and stories again, by bytes.
TRIPS = trip trip-learned trip-frozen trip-dense
trip = --schedule constant --lr 2e-3 --val stories=$T/stories.val --val-every 20
MOE_OPTIONS.trip = $(trip) --router keystore --attraction sum
MOE_OPTIONS.trip-learned = $(trip) --router linear
MOE_OPTIONS.trip-frozen = $(trip) --router linear --freeze-experts --expert-init sparse
MOE_OPTIONS.trip-dense = $(trip) --dense --hidden 512
AWAY = 400
BACK = 800
END = 1000
$(foreach v,$(TRIPS),$(eval MOE_STEPS.$v = $(END))$(eval MOE_DATA.$v = \
	stories=$T/stories code=$T/code@$(AWAY) stories=$T/stories@$(BACK)))

# More and more experts of 16 neurons in one layer; the largest for the cost alone.
SIZES = n-64 n-256 n-1024 n-4096 n-16384 n-65536
$(foreach v,$(SIZES),$(eval MOE_OPTIONS.$v = $(store) --layers 1 --hidden 16 --census-every 1000 \
	--experts $(v:n-%=%) --timing $R/$v.time.csv)$(eval MOE_STEPS.$v = 300))
MOE_STEPS.n-65536 = 20
MOE_OPTIONS.n-65536 += --warmup 0

# Of these one seed has to do.
$(foreach v,school-code school-law no-forgetting sphere normal pretrained learned-frozen linear-256 \
	mlp-128 layers-4-short learned-4 every-4 every-16 trip-frozen n-256 n-1024 n-16384 n-65536,$(eval MOE_SEEDS.$v = $(first)))

MOE_VARIANTS = $(GRAVITY) $(CONTROLS) school-code school-law $(STARTS) $(ROUTERS) $(MEASURES) $(TRIPS) \
	$(SIZES)
include cmd/moe.mk
$R/pretrained/$(first)/ckpt.safetensors: $(schools)

# Texts of at most 2 MB, the last 128 KiB held out.
STORIES ?=
HELD = 131072
limit = 2M
include t/claims/texts.mk
$T/stories.all: from = $(if $(STORIES),cp $(STORIES),moe-data text bible --limit $(limit) -o)
$T/held: $T/stories.all
	@tail -c $(HELD) $< >$@
$T/stories.val: $T/held
	@head -c 8192 $< >$@
$T/%: $T/%.all
	@head -c -$(HELD) $< >$@
$T/bpe: $T/stories
	@moe-data bpe --vocab 512 -o $@ $< 2>/dev/null
$T/%.tok: $T/% $T/bpe
	@moe-data pack --bpe $T/bpe -o $@ $< 2>/dev/null
$(MOE_CKPTS): | $(addprefix $T/,stories.tok held.tok code.tok law.tok stories stories.val code)
.PRECIOUS: $T/%

# What each run has come to, and all of them; of some also who works with whom, and what is known.
LOOKED = $(GRAVITY) learned layers-4 learned-4
runs_of = $(filter $(foreach v,$1,$R/$v/%),$(MOE_CKPTS:/ckpt.safetensors=))
figures = $(addsuffix /figures.csv,$(call runs_of,$(filter-out school-%,$(MOE_VARIANTS))))
$R/%/figures.csv: $R/%/ckpt.safetensors t/claims/keystore.sh
	@sh t/claims/keystore.sh $(@D) $(*D) $(*F) $T $(if $(filter $(LOOKED),$(*D)),look) >$@.new
	@mv $@.new $@
$D/figures.csv: $(figures)
	@echo variant,seed,figure,phase,value >$@
	@cat $(figures) >>$@

# The keys of the first layer and who works with whom, with peer-pull and without.
plots: $(foreach v,base no-beta still,$(if $(call runs_of,$v),$D/plots/$v.svg))
$D/plots/%.svg: $R/%/$(first)/ckpt.safetensors
	@mkdir -p $(@D)
	@moe-train -j 1 --eval $< --trace-csv $@.trace $T/held.tok >/dev/null
	@moe-knn galaxy --svg $@ -o $@.csv $<:0 $@.trace
	@rm $@.trace
