# What the X-slot promises, tested: `make claims-xslot` in the project's root, see moe-claims(7).
# Variables: PROSE CODE (texts; else those of this machine), TRACES (of models with 128 experts a
# layer), CLAIMS_DIR (where it all goes), SEEDS.  Times are measured: nothing runs beside anything.

SET = xslot
inputs = $D/figures.csv $D/replay.csv
more = t/claims/xslot-replay.awk
include t/claims/claims.mk

TRACES ?= $(wildcard ../shared/data/traces/*.route.csv.gz)
.NOTPARALLEL:

# 256 experts of 256 KiB, 64 MiB in all, of which a token uses 4 in each of 4 layers.
STEPS ?= 500
MOE_JOBS = 2
MOE_STEPS = $(STEPS)
MOE_DATA = $T/text
MOE_VARIANTS = model
MODEL = --dim 128 --layers 4 --heads 4 --experts 64 --hidden 256
MOE_OPTIONS = $(MODEL) --act relu --top-k 4 --seq 128 --batch 8 --lr 2e-3 --warmup 50 \
	--load-balance 0.01 --ckpt-every 100000
include cmd/moe.mk

# Four kinds of text, a megabyte of each; of prose and code 128 KiB more that no model has seen.
limit = 1200K
include t/claims/texts.mk
$T/%.held: $T/%.all
	@tail -c 131072 $< >$@
$T/text: $(addprefix $T/,prose.all code.all c.all perl.all)
	@for f in $^; do head -c -131072 $$f; done >$@
$(MOE_CKPTS): | $T/text $T/prose.held $T/code.held
.PRECIOUS: $T/%

# What each model has come to, part by part.
PARTS = budgets equal leaves sessions pivots typing replay
parts = $(foreach s,$(SEEDS),$(PARTS:%=$R/model/$s/%.part))
define part
$R/model/%/$1.part: $R/model/%/leaves.store t/claims/xslot.sh
	@sh t/claims/xslot.sh $1 $$(@D) $$* $T >$$@.new
	@mv $$@.new $$@
endef
$(foreach p,$(PARTS),$(eval $(call part,$p)))
$R/model/%/leaves.store: $R/model/%/ckpt.safetensors
	@sh t/claims/xslot.sh stores $(@D) $* $T
.PRECIOUS: $R/model/%/leaves.store
$D/figures.csv: $(parts)
	@echo variant,seed,figure,phase,value >$@
	@cat $(parts) >>$@

# Large models' routing, replayed with 5, 10, 25, 50 and 100 % of 128 experts.
SLOTS = 6,13,32,64,128
POLICIES = lru lfu learned
TIERS = nvme pcie3 pcie4 pcie5

# The shape of a trillion parameters: 60 layers of 384 experts, 8 used, each three matrices of 7168
# by 2048 at 4.5 bits; beside them 100 MB a layer.  Its experts are assumed to be as often missing
# as the trace's when the same share of them is resident.
AS_TRACED = --dense-bytes 12M
TRILLION = --model-layers 60 --model-used 8 --expert-bytes 24772608 --dense-bytes 100M

# replay NAME OPTIONS: rows of all traces, with the shape's name before them
replay = moe-prefetch replay --slots $(SLOTS) --scope global $2 $(TRACES) | sed '1d; s/^/$1,/'

$D/replay.csv: $(TRACES) t/claims/xslot.mk $B/moe-prefetch
	@mkdir -p $D
	@{ printf 'shape,'; printf 'step,layer,expert\n0,0,0\n' | \
		moe-prefetch replay --slots 1 - | head -n 1; \
	$(if $(TRACES),$(foreach t,$(TIERS),$(foreach p,$(POLICIES), \
		$(call replay,as traced,--policy $p --tier $t $(AS_TRACED)); \
		$(call replay,trillion,--policy $p --tier $t $(TRILLION)); ) \
		$(call replay,as traced,--policy learned --predictor tree --prefetch --tier $t \
			$(AS_TRACED));)) \
	} >$@
