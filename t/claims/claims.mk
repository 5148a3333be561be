# What the sets of claims have in common.  Who includes this has said SET, its name; `inputs`, the
# figures and the published tables; and may have said `extra` (what tables.txt is made of besides),
# `more` (further rules that all of its scripts want) and `shown` (what else is to be made).

B ?= bin
CLAIMS_DIR ?= $(B)/claims
SEEDS ?= 1 2 3
D = $(CLAIMS_DIR)/$(SET)
T = $D/text
R = $D/runs
first = $(firstword $(SEEDS))
export B
export PATH := $(abspath $B):$(PATH)

MOE_TRAIN = $(abspath $B)/moe-train
MOE_RUNS = $R
MOE_SEEDS = $(SEEDS)

rules = t/claims/stats.awk $(more)
stats = awk $(rules:%=-f %)
judge = $(stats) -f t/claims/$(SET)-verdicts.awk

claims: $D/tables.txt $D/verdicts.csv $D/summary.csv $(shown)
	@cat $D/tables.txt
	@echo; echo 'Verdicts (also in $D/verdicts.csv; all figures in $D/figures.csv)'
	@$(judge) -v people=1 $(inputs)
$D/tables.txt: $(inputs) $(extra) $(rules) t/claims/$(SET)-tables.awk
	@$(stats) -f t/claims/$(SET)-tables.awk $(inputs) $(extra) >$@
$D/verdicts.csv: $(inputs) $(rules) t/claims/$(SET)-verdicts.awk
	@$(judge) $(inputs) >$@
$D/summary.csv: $(inputs) t/claims/stats.awk t/claims/summary.awk
	@awk -f t/claims/stats.awk -f t/claims/summary.awk $(inputs) >$@
.PHONY: claims $(shown)
.DELETE_ON_ERROR:
