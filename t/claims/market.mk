# The market's claims, tested: `make claims-market` in the project's root, see moe-claims(7).
# Variables: PROSE CODE (texts; else those of this machine), CLAIMS_DIR (where it all goes), SEEDS.

SET = market
inputs = $D/figures.csv $(addprefix testdata/market/,replacements.csv recovery.csv loss.csv) \
	$D/value.csv
extra = $D/cycles.csv
shown = plots
include t/claims/claims.mk

MOE_STEPS = 4500
MOE_KEEP = 1500 3000
MOE_DATA = prose=$T/prose code=$T/code@1500 prose=$T/prose@3000

# No balancing loss: the market is to do that work.  --dormancy: who has no tokens is left as it is,
# so that what an expert keeps is not what momentum and decay leave of it.
MOE_OPTIONS = --dim 64 --layers 2 --heads 4 --top-k 2 --seq 128 --batch 4 --lr 2e-3 \
	--schedule constant --warmup 100 --census-every 10 --val prose=$T/prose.val --val-every 25
pool = --experts 8 --hidden 256 --dormancy --load-balance
market = $(pool) 0 --lifecycle market --interval 10 --market-warmup 500 --kappa 1

# The seven runs of the paper; those that do not return end where the others do.
PAPER = A2 B2 C2 B2b C2b B2c C2c
MOE_OPTIONS.A2 = $(market) --fitness A --grace 0
MOE_OPTIONS.B2 = $(market) --fitness B --grace 0
MOE_OPTIONS.C2 = $(market) --fitness C --grace 0
MOE_OPTIONS.B2b = $(market) --fitness B --grace 50
MOE_OPTIONS.C2b = $(market) --fitness C --grace 50
MOE_OPTIONS.B2c = $(MOE_OPTIONS.B2b)
MOE_OPTIONS.C2c = $(MOE_OPTIONS.C2b)
MOE_STEPS.A2 = 3000
MOE_STEPS.B2 = 3000
MOE_STEPS.C2 = 3000
MOE_STEPS.B2b = 3000
MOE_STEPS.C2b = 3000

# Its controls.  Two of eight experts are active: 512 hidden neurons are as many, 2048 are all.
CONTROLS = fixed scratch prune merge dense-active dense-total
MOE_OPTIONS.fixed = $(pool) 0
MOE_OPTIONS.scratch = $(pool) 0
MOE_DATA.scratch = prose=$T/prose
MOE_STEPS.scratch = 2500
MOE_KEEP.scratch =
MOE_OPTIONS.prune = $(pool) 0 --at-shift prune --dormant-below 0.25
MOE_OPTIONS.merge = $(pool) 0 --at-shift merge --dormant-below 0.25
MOE_OPTIONS.dense-active = --dense --hidden 512
MOE_OPTIONS.dense-total = --dense --hidden 2048

# The other grace rule, without a shift; and a pool that a balancing loss makes even, for the crossing rates.
BESIDE = B2t C2t even
MOE_OPTIONS.B2t = $(MOE_OPTIONS.B2b) --grace-rule tariff
MOE_OPTIONS.C2t = $(MOE_OPTIONS.C2b) --grace-rule tariff
MOE_OPTIONS.even = $(pool) 0.01
MOE_STEPS.B2t = 1500
MOE_STEPS.C2t = 1500
MOE_KEEP.B2t =
MOE_KEEP.C2t =
MOE_STEPS.even = 1500
MOE_KEEP.even =

# 64 experts in 12 layers beside 8 in 2 on the same short schedule; the former with one seed.
SCALE = scale-8x2 scale-64x12
MOE_OPTIONS.scale-8x2 = $(MOE_OPTIONS.B2c) --hidden 64 --market-warmup 100 --val-every 50
MOE_OPTIONS.scale-64x12 = $(MOE_OPTIONS.scale-8x2) --experts 64 --layers 12
MOE_DATA.scale-8x2 = prose=$T/prose code=$T/code@300 prose=$T/prose@600
MOE_DATA.scale-64x12 = $(MOE_DATA.scale-8x2)
MOE_STEPS.scale-8x2 = 900
MOE_STEPS.scale-64x12 = 900
MOE_KEEP.scale-8x2 =
MOE_KEEP.scale-64x12 =
MOE_SEEDS.scale-64x12 = $(first)

# Cycles of three and of five domains, twice and back to the first, with a market and without; one
# seed.
CYCLES = cycle-3 cycle-3-fixed cycle-5 cycle-5-fixed
cycle = `moe-shift plan --cycles 2 --period 300 prose=$T/prose code=$T/code c=$T/c
MOE_OPTIONS.cycle-3 = $(MOE_OPTIONS.B2c) --market-warmup 100
MOE_OPTIONS.cycle-5 = $(MOE_OPTIONS.cycle-3)
MOE_OPTIONS.cycle-3-fixed = $(MOE_OPTIONS.fixed)
MOE_OPTIONS.cycle-5-fixed = $(MOE_OPTIONS.fixed)
MOE_DATA.cycle-3 = $(cycle)`
MOE_DATA.cycle-5 = $(cycle) perl=$T/perl law=$T/law`
MOE_DATA.cycle-3-fixed = $(MOE_DATA.cycle-3)
MOE_DATA.cycle-5-fixed = $(MOE_DATA.cycle-5)
MOE_STEPS.cycle-3 = 2100
MOE_STEPS.cycle-5 = 3300
MOE_STEPS.cycle-3-fixed = 2100
MOE_STEPS.cycle-5-fixed = 3300
MOE_KEEP.cycle-3 =
MOE_KEEP.cycle-5 =
MOE_KEEP.cycle-3-fixed =
MOE_KEEP.cycle-5-fixed =
$(foreach v,$(CYCLES),$(eval MOE_SEEDS.$v = $(first)))

MOE_VARIANTS = $(PAPER) $(CONTROLS) $(BESIDE) $(SCALE) $(CYCLES)
include cmd/moe.mk

# Texts of at most 2 MB, whose last 64 KiB are held out; recovery is measured on the first 8 KiB of
# these.
limit = 2M
include t/claims/texts.mk
$T/%.held: $T/%.all
	@tail -c 65536 $< >$@
$T/%.val: $T/%.held
	@head -c 8192 $< >$@
$T/%: $T/%.all
	@head -c -65536 $< >$@
$(MOE_CKPTS): | $(addprefix $T/,prose prose.held prose.val code code.held c perl law)
.PRECIOUS: $T/%

# What each run has come to, and all of them; the cycles by what each return takes.
scored = $(filter-out $(foreach v,$(CYCLES),$R/$v/%),$(MOE_CKPTS))
figures = $(scored:ckpt.safetensors=figures.csv)
$R/%/figures.csv: $R/%/ckpt.safetensors t/claims/market.sh
	@sh t/claims/market.sh $(@D) $(*D) $(*F) $T $(if $(filter $(SCALE),$(*D)),,$R/scratch/$(*F)) \
		>$@.new
	@mv $@.new $@
$(figures): | $(foreach s,$(SEEDS),$R/scratch/$s/ckpt.safetensors)
$D/figures.csv: $(figures)
	@echo variant,seed,figure,phase,value >$@
	@cat $(figures) >>$@
cycles = $(filter-out $(scored),$(MOE_CKPTS))
$D/cycles.csv: $(cycles)
	@$(if $(cycles),moe-shift score --metric loss --smooth 25 --level left --scratch-self \
		$(cycles:/ckpt.safetensors=) -o $@ 2>/dev/null,: >$@)
$D/value.csv:
	@mkdir -p $D
	@moe-market value -o $@ 2>/dev/null

# The paper's figures 1 and 2, the losses, and who is used when.
runs_of = $(filter $(foreach v,$1,$R/$v/%),$(scored:/ckpt.safetensors=))
figure1 = $(call runs_of,A2 B2 C2)
figure2 = $(call runs_of,B2 B2b C2 C2b)
losses = $(call runs_of,B2c C2c fixed dense-active)
experts = $(firstword $(call runs_of,B2c))
plots: $(foreach p,figure1 figure2 losses experts,$(if $($p),$D/plots/$p.svg))
$D/plots/figure%.svg: kind = events
$D/plots/losses.svg: kind = loss
$D/plots/experts.svg: kind = experts
$D/plots/%.svg: $D/figures.csv
	@mkdir -p $(@D)
	@moe-view --plot $(kind) -o $@ $($*)
