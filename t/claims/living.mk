# The living layer's claims, tested: `make claims-living` in the project's root, see moe-claims(7).
# Variables: SYSTEM (of moe-data chaos), PROSE (a text; else the Bible), CLAIMS_DIR, SEEDS,
# SIZE=full (100,000 steps and up to 1,500 experts a layer, as published: a day).

SET = living
inputs = $D/figures.csv testdata/living/table.csv
include t/claims/claims.mk

SYSTEM ?= lorenz

full = $(filter full,$(SIZE))
STEPS = $(if $(full),100000,4000)
EVERY = $(if $(full),10000,400)
MOST = $(if $(full),1500,128)

MOE_STEPS = $(STEPS)
MOE_OPTIONS = --dim 32 --layers 2 --heads 2 --top-k 2 --hidden 32 --seq 64 --batch 8 --lr 3e-3 \
	--warmup 100 --census-every 10 --ckpt-every $(EVERY)
chaos = --val $T/chaos.val --val-every $(EVERY)
prose = --val $T/prose.val --val-every $(EVERY)

# Eight founders; more vital than 0.6 twice and they divide.  The defaults, 0.75 and three times,
# let a layer grow too little for a run as short as this.
founders = --experts 8
living = $(founders) --lifecycle living --overload 0.6 --patience 2 --max-experts $1 --dormancy
alive = $(call living,$(MOST)) $(chaos)
# What the field does: a linear router and the load-balance loss.
standard = --router linear --load-balance 0.01

CHAOS = living fixed fixed-router no-mitosis no-apoptosis no-escape no-phi phi-product plateau-ball \
	plateau-waves plateau-off grown
MOE_OPTIONS.living = $(alive)
MOE_OPTIONS.fixed = $(founders) $(standard) $(chaos)
# As the living layer in all but life.
MOE_OPTIONS.fixed-router = $(founders) --router cosine --temperature 0.1 --load-balance 0 $(chaos)
MOE_OPTIONS.no-mitosis = $(alive) --life-without mitosis
MOE_OPTIONS.no-apoptosis = $(alive) --life-without apoptosis
MOE_OPTIONS.no-escape = $(alive) --life-without escape
MOE_OPTIONS.no-phi = $(alive) --life-without phi,escape
MOE_OPTIONS.phi-product = $(alive) --phi product
# Where a plateau alone is despair, with ten checks for one: into either geometry, or not at all.
plateau = $(alive) --plateau 10 --life-without
MOE_OPTIONS.plateau-ball = $(plateau) phi
MOE_OPTIONS.plateau-waves = $(plateau) phi --escape fourier
MOE_OPTIONS.plateau-off = $(plateau) phi,escape
# As many as come; one seed.
MOE_OPTIONS.grown = $(call living,1500) $(chaos)
MOE_SEEDS.grown = $(first)
$(foreach v,$(CHAOS),$(eval MOE_DATA.$v = $T/chaos))

PROSE_RUNS = prose-living prose-fixed
MOE_OPTIONS.prose-living = $(call living,$(MOST)) $(prose)
MOE_OPTIONS.prose-fixed = $(founders) $(standard) $(prose)
$(foreach v,$(PROSE_RUNS),$(eval MOE_DATA.$v = $T/prose))

MOE_VARIANTS = $(CHAOS) $(PROSE_RUNS)
include cmd/moe.mk

# Standard pools that are known only when a living one is done: with as many experts as it has at
# the end (at least top-k), and of eight for as many operations.  $(call after,variant,living,seed,
# text,options)
define after
$R/$1/$3/ckpt.safetensors: $R/$2/$3/ckpt.safetensors
	@mkdir -p $$(@D) && $(MOE_TRAIN) -j 1 $(MOE_OPTIONS) $(standard) --seed $3 \
		$$$$(sh t/claims/living-equal.sh $5 $R/$2/$3) --val $T/$4.val --val-every $(EVERY) \
		-o $$(@D) $T/$4
.PRECIOUS: $R/$1/$3/ckpt.safetensors
LATER += $R/$1/$3/ckpt.safetensors
endef
$(foreach s,$(SEEDS),\
	$(eval $(call after,fixed-params,living,$s,chaos,params))\
	$(eval $(call after,fixed-flops,living,$s,chaos,flops))\
	$(eval $(call after,prose-params,prose-living,$s,prose,params))\
	$(eval $(call after,prose-flops,prose-living,$s,prose,flops)))
$(eval $(call after,grown-params,grown,$(first),chaos,params))
moe-runs: $(LATER)

# Two megabytes, whose last 64 KiB are held out; 32 KiB of these are looked at.
limit = 2M
include t/claims/texts.mk
$T/chaos.all:
	@mkdir -p $T
	@moe-data chaos --tokens 2000000 --seed 1 --floor $D/floor.csv -o $@ $(SYSTEM)
$T/%.val: $T/%.all
	@tail -c 65536 $< | head -c 32768 >$@
$T/%: $T/%.all
	@head -c -65536 $< >$@
$(MOE_CKPTS): | $(addprefix $T/,chaos chaos.val prose prose.val)
.PRECIOUS: $T/%

# What each run has come to, what a step of the living costs, what the dead give back; and all.
figures = $(patsubst %ckpt.safetensors,%figures.csv,$(MOE_CKPTS) $(LATER))
$R/%/figures.csv: $R/%/ckpt.safetensors t/claims/living.sh
	@sh t/claims/living.sh $(@D) $(*D) $(*F) $T $(if $(filter plateau-%,$(*D)), \
		$R/plateau-ball/$(*F)) >$@.new
	@mv $@.new $@
plateaus = $(filter $R/plateau-%,$(figures))
$(plateaus): | $(filter $R/plateau-ball/%,$(MOE_CKPTS))
$D/memory.csv: t/claims/living-memory.sh $T/chaos
	@sh $^ >$@.new
	@mv $@.new $@
$D/timed-%.csv: $R/%/1/ckpt.safetensors t/claims/living-timed.sh
	@sh t/claims/living-timed.sh $(<D) $* >$@.new
	@mv $@.new $@
$D/floor.csv: $T/chaos.all
$D/figures.csv: $(figures) $D/memory.csv $(patsubst %,$D/timed-%.csv,$(if $(filter 1,$(SEEDS)), \
		living fixed fixed-params)) $D/floor.csv
	@echo variant,seed,figure,phase,value >$@
	@cat $(filter-out $D/floor.csv,$^) >>$@
	@sed -n 's/^\(floor[a-z_]*\|reached\),\([^,]*\),.*/chaos,1,\1,,\2/p' $D/floor.csv >>$@
