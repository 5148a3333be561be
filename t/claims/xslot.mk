# What the X-slot promises, on routing traces of large models: `make claims-xslot` in the project's
# root; a minute.
# Variables: TRACES (of models with 128 experts a layer), CLAIMS_DIR (where it all goes).

B ?= bin
CLAIMS_DIR ?= $(B)/claims/xslot
TRACES ?= $(wildcard ../shared/data/traces/*.route.csv.gz)
D = $(CLAIMS_DIR)
export PATH := $(abspath $B):$(PATH)

claims: $D/figures.csv $D/verdicts.csv
	@awk -f t/claims/xslot.awk -v people=1 $(D)/figures.csv

# 5, 10, 25, 50 and 100 % of 128 experts.
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

$D/figures.csv: $(TRACES) t/claims/xslot.mk $B/moe-prefetch
	@mkdir -p $D
	@{ printf 'shape,'; printf 'step,layer,expert\n0,0,0\n' | \
		moe-prefetch replay --slots 1 - | head -n 1; \
	$(if $(TRACES),$(foreach t,$(TIERS),$(foreach p,$(POLICIES), \
		$(call replay,as traced,--policy $p --tier $t $(AS_TRACED)); \
		$(call replay,trillion,--policy $p --tier $t $(TRILLION)); ) \
		$(call replay,as traced,--policy learned --predictor tree --prefetch --tier $t \
			$(AS_TRACED));)) \
	} >$@
$D/verdicts.csv: $D/figures.csv t/claims/xslot.awk
	@awk -f t/claims/xslot.awk $< >$@
.PHONY: claims
.DELETE_ON_ERROR:
