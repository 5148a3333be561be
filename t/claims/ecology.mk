# The ecology's claims, tested: `make claims-ecology` in the project's root, see moe-claims(7).
# Variables: IMAGES (sets of images), TEXT GPT2 (WikiText-2, GPT-2's tables), CLAIMS_DIR, SEEDS,
# SIZE=full (five times as many steps, WRN-16-2).

SET = ecology
inputs = $D/figures.csv testdata/ecology/tables.csv
include t/claims/claims.mk

IMAGES ?= ../shared/data/images
TEXT ?= ../shared/data/text
GPT2 ?= ../shared/data/bpe
S = $D/data

# A run about routing alone learns on features: 3120 steps of 128, 40 epochs of 10,000 samples, of
# which the first 15 % are routed at random and the temperature falls over the first 30 %.
full = $(filter full,$(SIZE))
STEPS = $(if $(full),15600,3120)
WARM = $(if $(full),2340,468)
ANNEAL = $(if $(full),4680,936)
EPOCH = $(if $(full),390,78)

MOE_STEPS = $(STEPS)
MOE_OPTIONS = --lr-end 0 --load-balance 0 --ckpt-every 100000
classify = --task classify --batch 128 --lr 1e-3 --wd 5e-4 --beta2 0.999 --clip 0

# $(call e,T,H,O,B): E = T H / (O + B), T falling to 0.3.
e = --temperature $1:0.3:$(ANNEAL) --entropy $2 --oracle $3 --balance $4
base = $(call e,3,0.10,0.15,0.40)
# With the divergence that the publication names and does not tell.
route = $(classify) --dim 64 --random-warmup $(WARM) --census-every $(EPOCH) --val-every $(EPOCH) \
	--divergence 0.1
routed = $(route) --experts 16

# What is tried on one set of features: NAME = options; the sets that each is tried on.
TRY = base p014 p035 p044 p065 ortho02 ortho05 ortho10 ortho20 low low-ortho10 four flat nowarm \
	nowarm-ortho10 eq-T9 eq-T1 eq-O eq-B eq-x4 eq-x10th one-T1 one-T9 one-H033 one-H3 one-O150 \
	one-O0 one-B150 one-B003 none load free norm tau01 tau03 tau3 e1 32 nobalance nodivergence \
	noanneal noentropy noproto
try.base = $(base) --tiers 8,4,4
# Table 1 tells T and H; O + B follows from E, and is divided as elsewhere.
try.p014 = $(call e,1,0.05,0.0974,0.2597)
try.p035 = $(call e,2,0.07,0.1091,0.2909)
try.p044 = $(call e,2.5,0.08,0.1240,0.3306)
try.p065 = $(call e,3,0.12,0.1510,0.4028)
try.ortho02 = $(base) --ortho 0.02
try.ortho05 = $(base) --ortho 0.05
try.ortho10 = $(base) --ortho 0.10
try.ortho20 = $(base) --ortho 0.20
try.low = $(call e,3,0.10,0.15,0.85)
try.low-ortho10 = $(try.low) --ortho 0.10
# E = 2.29, whose parts are not told: H is raised.
try.four = $(call e,3,0.42,0.15,0.40) --tiers 4,4,4,4
try.flat = $(call e,3,0.42,0.15,0.40)
try.nowarm = $(base) --random-warmup 0
try.nowarm-ortho10 = $(try.nowarm) --ortho 0.10
# E = 0.545 in other ways
try.eq-T9 = $(call e,9,0.033333,0.15,0.40)
try.eq-T1 = $(call e,1,0.3,0.15,0.40)
try.eq-O = $(call e,3,0.10,0.55,0)
try.eq-B = $(call e,3,0.10,0,0.55)
try.eq-x4 = $(call e,3,0.40,0.60,1.60)
try.eq-x10th = $(call e,3,0.01,0.015,0.04)
# one of the four at a time: E = 0.18 or 1.64, O = 0 makes it 0.75
try.one-T1 = $(call e,1,0.10,0.15,0.40)
try.one-T9 = $(call e,9,0.10,0.15,0.40)
try.one-H033 = $(call e,3,0.033333,0.15,0.40)
try.one-H3 = $(call e,3,0.30,0.15,0.40)
try.one-O150 = $(call e,3,0.10,1.25,0.40)
try.one-O0 = $(call e,3,0.10,0,0.40)
try.one-B150 = $(call e,3,0.10,0.15,1.50)
try.one-B003 = $(call e,3,0.10,0.15,0.03333)
# what the field does instead, and nothing at all
try.none = $(call e,3,0,0,0) --divergence 0
try.load = $(try.none) --load-balance 0.01
try.free = $(try.none) --bias-rate 0.001
try.norm = $(base) --loss-scale normalised
try.tau01 = $(base) --tau 0.1
try.tau03 = $(base) --tau 0.3
try.tau3 = $(base) --tau 3
try.e1 = $(call e,3,0.183333,0.15,0.40) --tiers 8,4,4
try.32 = $(base) --experts 32 --tiers 16,8,8
try.nobalance = $(call e,3,0.10,0.15,0)
try.nodivergence = $(base) --divergence 0
try.noanneal = $(base) --temperature 3
try.noentropy = $(call e,3,0,0.15,0.40)
try.noproto = $(base) --prototype none

phases = p014 p035 p044 p065
sweep = ortho02 ortho05 ortho10 ortho20
equal = eq-T9 eq-T1 eq-O eq-B eq-x4 eq-x10th
single = one-T1 one-T9 one-H033 one-H3 one-O150 one-O0 one-B150 one-B003
on.c10 = base $(phases) $(sweep) low low-ortho10 four flat $(equal) $(single) none load free norm \
	tau01 tau03 tau3
on.t100 = base $(phases) $(sweep) four flat nowarm nowarm-ortho10 $(equal) none load free norm
on.t200 = base $(phases) e1 32 four nobalance nodivergence noanneal noentropy noproto
on.o242 = base $(phases)
on.t10 = base
ROUTED = $(foreach s,c10 t100 t200 o242 t10,$(on.$s:%=$s-%))
$(foreach s,c10 t100 t200 o242 t10,$(foreach v,$(on.$s),$(eval \
	MOE_OPTIONS.$s-$v = $$(routed) $$(try.$v) --val $S/$s-test.csv)$(eval \
	MOE_DATA.$s-$v = $S/$s-train.csv)))

# E lowered by one of its parts, T and the learning rate constant, kept so, or restored half-way.
LOWERED = c10-T3 c10-T1 c10-H3 c10-H1 c10-B3 c10-B1
steady = $(routed) --schedule constant --temperature $1 --entropy $2 --oracle 0.15 --balance $3
MOE_OPTIONS.c10-T3 = $(call steady,1.65,0.10,0.40) --val $S/c10-test.csv
MOE_OPTIONS.c10-T1 = $(call steady,0.55,0.10,0.40) --val $S/c10-test.csv
MOE_OPTIONS.c10-H3 = $(call steady,3,0.055,0.40) --val $S/c10-test.csv
MOE_OPTIONS.c10-H1 = $(call steady,3,0.018333,0.40) --val $S/c10-test.csv
MOE_OPTIONS.c10-B3 = $(call steady,3,0.10,0.85) --val $S/c10-test.csv
MOE_OPTIONS.c10-B1 = $(call steady,3,0.10,2.85) --val $S/c10-test.csv
HALF = $(if $(full),7800,1560)
$(foreach v,$(LOWERED),$(eval MOE_DATA.$v = $S/c10-train.csv)$(eval MOE_KEEP.$v = $(HALF)))

# From images to classes in one: five epochs of 10,000, four of 20,000.  These, and the
# run with GPT-2's tokens, with one seed.
whole = $(classify) --depth 10 --widen 1 --dim 64 --experts 16 --tiers 8,4,4 --divergence 0.1 --augment \
	--encoder-lr 1e-3
e2e = $(whole) --temperature $1:0.3:$2 --entropy $3 --oracle 0.15 --balance $4
WHOLE = c10-whole c10-whole-low t200-whole
MOE_OPTIONS.c10-whole = $(call e2e,3,117,0.10,0.40) --random-warmup 58 --census-every 39 \
	--val-every 39 --val $S/c10-test.bin
MOE_OPTIONS.c10-whole-low = $(call e2e,3,117,0.10,0.85) --random-warmup 58 --census-every 39 \
	--val-every 39 --val $S/c10-test.bin
MOE_OPTIONS.t200-whole = $(call e2e,3,187,0.10,0.40) --random-warmup 93 --census-every 78 \
	--val-every 78 --val $S/t200-test.bin
MOE_STEPS.c10-whole = 390
MOE_STEPS.c10-whole-low = 390
MOE_STEPS.t200-whole = 624
$(foreach v,$(WHOLE) lm-gpt2,$(eval MOE_SEEDS.$v = $(first)))
$(foreach v,$(WHOLE),$(eval MOE_DATA.$v = $S/$(firstword $(subst -, ,$v))-train.bin))

# The encoders, one of each, whose features the others learn on.
ENCODERS = enc-c10 enc-t200 enc-o242
# A mirrored letter is another one: there is no augmentation.
encoder = $(classify) --dense --depth $(if $(full),16,10) --widen $(if $(full),2,1) \
	--val-every 1000000
MOE_STEPS.enc-c10 = $(if $(full),1560,780)
MOE_STEPS.enc-t200 = $(if $(full),3120,936)
MOE_STEPS.enc-o242 = $(if $(full),1200,600)
$(foreach s,c10 t200 o242,$(eval MOE_OPTIONS.enc-$s = $$(encoder) --val $S/$s-test.bin \
	$(if $(filter o242,$s),,--augment))$(eval MOE_DATA.enc-$s = $S/$s-train.bin)$(eval MOE_SEEDS.enc-$s = 1))
# Language: 2 layers of 16 experts; 400 steps of 512 tokens, two thirds of a megabyte.
LM_STEPS = $(if $(full),2000,400)
lm_e = --temperature $1:0.3:$(if $(full),600,120) --entropy $2 --oracle $3 --balance $4
lm = --dim 64 --layers 2 --heads 4 --experts 16 --hidden 64 --seq 128 --batch 4 --lr 2e-3 \
	--divergence 0.1 --random-warmup $(if $(full),300,60) --census-every $(if $(full),50,10) \
	--val-every $(if $(full),50,10)
lm_base = $(lm) $(call lm_e,3,0.10,0.15,0.40)
lm_none = $(lm) $(call lm_e,3,0,0,0) --divergence 0
SPOKEN = lm-base lm-ortho02 lm-ortho05 lm-ortho10 lm-ortho20 lm-low lm-none lm-load lm-free
MOE_OPTIONS.lm-base = $(lm_base)
MOE_OPTIONS.lm-ortho02 = $(lm_base) --ortho 0.02
MOE_OPTIONS.lm-ortho05 = $(lm_base) --ortho 0.05
MOE_OPTIONS.lm-ortho10 = $(lm_base) --ortho 0.10
MOE_OPTIONS.lm-ortho20 = $(lm_base) --ortho 0.20
MOE_OPTIONS.lm-over = $(lm_base)
MOE_OPTIONS.lm-low = $(lm) $(call lm_e,3,0.10,0.15,0.85)
MOE_OPTIONS.lm-none = $(lm_none)
MOE_OPTIONS.lm-load = $(lm_none) --load-balance 0.01
MOE_OPTIONS.lm-free = $(lm_none) --bias-rate 0.001
$(foreach v,$(SPOKEN) lm-over,$(eval MOE_OPTIONS.$v += --val $S/lm-test.tok)$(eval \
	MOE_DATA.$v = $S/lm-train.tok)$(eval MOE_STEPS.$v = $$(LM_STEPS)))
# A thirtieth of that text, again and again: trained past the least loss of validation.
MOE_DATA.lm-over = $S/over-train.tok
# GPT-2's tokens.
MOE_OPTIONS.lm-gpt2 = $(lm_base) --random-warmup 30 --temperature 3:0.3:60 --census-every 20 \
	--val-every 200 --val $S/gpt2-test.tok
MOE_DATA.lm-gpt2 = $S/gpt2-train.tok
MOE_STEPS.lm-gpt2 = 200
SPEECH = $(SPOKEN) lm-over lm-gpt2

MOE_VARIANTS ?= $(ENCODERS) $(ROUTED) $(LOWERED) $(WHOLE) $(SPEECH)
include cmd/moe.mk

# Sets of images; where there are none, made-up ones of as many classes.
c10-train = cifar10-train10k.bin 10 10000 32 1
c10-test = cifar10-test2k.bin 10 2000 32 2
t200-train = tinyimagenet32-train20k.bin 200 20000 32 1
t200-test = tinyimagenet32-val2500.bin 200 2500 32 2
o242-train = omniglot242-train.bin 242 3872 28 1
o242-test = omniglot242-test.bin 242 968 28 2
$S/%.bin:
	@mkdir -p $S; set -- $($*); if [ -e $(IMAGES)/$$1 ]; then ln -sf $(abspath $(IMAGES))/$$1 $@; \
		else moe-data shapes --classes $$2 --samples $$3 --size $$4 --seed $$5 -o $@; fi
# What the encoder makes of them; 10 and 100 of the 200 classes are told apart by the same features.
# Of 200 classes 100 have half of the samples, 10 a twentieth.
$S/%-train.csv: $S/%-train.bin $R/enc-%/1/ckpt.safetensors
	@moe-train -j 1 --eval $(word 2,$^) --features-csv $@ $< >/dev/null
$S/%-test.csv: $S/%-test.bin $R/enc-%/1/ckpt.safetensors
	@moe-train -j 1 --eval $(word 2,$^) --features-csv $@ $< >/dev/null
$S/t100-%.csv: $S/t200-%.csv
	@awk -F, 'NR == 1 || $$NF < 100' $< >$@
$S/t10-%.csv: $S/t200-%.csv
	@awk -F, 'NR == 1 || $$NF < 10' $< >$@
SETS = c10 t100 t200 o242 t10
FEATURES = $(foreach s,$(SETS),$S/$s-train.csv $S/$s-test.csv)
runs_of = $(filter $(foreach v,$1,$R/$v/%),$(MOE_CKPTS))
$(call runs_of,$(ENCODERS) $(WHOLE)): | $(foreach s,c10 t200 o242,$S/$s-train.bin $S/$s-test.bin)
$(call runs_of,$(ROUTED) $(LOWERED)): | $(FEATURES)

# WikiText-2, else the Bible; in 2048 tokens of its own, and in GPT-2's, if they are there.
wiki = $(wildcard $(TEXT)/wikitext2-$1.txt)
own = --bpe $S/own.bpe
gpt2 = $(if $(wildcard $(GPT2)/vocab.bpe),--gpt2 $(GPT2)/encoder.json $(GPT2)/vocab.bpe,$(own))
$S/train.txt:
	@mkdir -p $S; $(if $(call wiki,train-1MB),head -c 1000000 $(call wiki,train-1MB) >$@,moe-data \
		text bible --limit 1000000 -o $@)
$S/test.txt:
	@mkdir -p $S; $(if $(call wiki,valid),head -c 100000 $(call wiki,valid) >$@,moe-data text bible \
		--limit 1100000 -o $@ && tail -c 100000 $@ >$@.new && mv $@.new $@)
$S/own.bpe: $S/train.txt
	@moe-data bpe --vocab 2048 -o $@ $<
$S/lm-%.tok: $S/%.txt $S/own.bpe
	@moe-data pack $(own) -o $@ $<
$S/over-train.tok: $S/train.txt $S/own.bpe
	@head -c 33000 $< >$S/over.txt && moe-data pack $(own) -o $@ $S/over.txt
$S/gpt2-%.tok: $S/%.txt $S/own.bpe
	@moe-data pack $(gpt2) -o $@ $<
$(call runs_of,$(SPEECH)): | $(foreach t,lm gpt2,$S/$t-train.tok $S/$t-test.tok) $S/over-train.tok
.PRECIOUS: $S/%.bin $S/%.csv $S/%.tok $S/%.txt

# Half-way E is what it is published for again.
define restore
$R/$1-back/$2/ckpt.safetensors: $R/$1/$2/ckpt.safetensors
	@mkdir -p $$(@D) && $(MOE_TRAIN) -j 1 $(MOE_OPTIONS) $(call steady,3,0.10,0.40) \
		--val $S/c10-test.csv --seed $2 --steps $(STEPS) \
		--resume-from $R/$1/$2/ckpt-$(HALF).safetensors -o $$(@D) $S/c10-train.csv
.PRECIOUS: $R/$1-back/$2/ckpt.safetensors
endef
$(foreach v,$(filter $(LOWERED),$(MOE_VARIANTS)),$(foreach s,$(SEEDS),$(eval $(call restore,$v,$s))))
BACK = $(foreach v,$(filter $(LOWERED),$(MOE_VARIANTS)),$(SEEDS:%=$R/$v-back/%/ckpt.safetensors))
moe-runs: $(BACK)

# What each run has come to, and all of them.
looked = t200-base t200-e1 t200-32 t200-four t100-base t100-four c10-base c10-four
test_of = $(if $(filter $(looked),$1),$S/$(firstword $(subst -, ,$1))-test.csv)
figures = $(MOE_CKPTS:ckpt.safetensors=figures.csv) $(BACK:ckpt.safetensors=figures.csv)
$R/%/figures.csv: $R/%/ckpt.safetensors t/claims/ecology.sh
	@sh t/claims/ecology.sh $(@D) $(*D) $(*F) $(call test_of,$(*D)) >$@.new
	@mv $@.new $@
# A text by the frequencies of its tokens alone: the perplexity that says nothing of their order.
count = moe-data encode $(if $(filter gpt2,$1),$(gpt2),$(own)) $S/train.txt
$D/unigram-%.csv: $S/train.txt $S/test.txt $S/own.bpe
	@{ $(call count,$*); echo; echo end; $(subst train,test,$(call count,$*)); } | tr ' ' '\n' | \
		awk -v v=lm-$(if $(filter gpt2,$*),gpt2,base) -v V=$(if $(filter gpt2,$*),50257,2048) ' \
		$$1 == "end" { test = 1 } \
		$$1 !~ /^[0-9]+$$/ { next } \
		!test { count[$$1]++; all++ } \
		test { sum -= log((count[$$1] + 1) / (all + V)); n++ } \
		END { printf "%s,1,unigram,,%.9g\n", v, exp(sum / n) }' >$@
# How far apart the seeds of a setting end, two by two: at most as many pairs as seeds.
fours = $(call runs_of,t200-four)
$D/pairs.csv: $(fours)
	@: >$@; [ $(words $(fours)) -lt 2 ] || moe-ecology compare --tiers 4,4,4,4 --stats - -o /dev/null \
		$(fours:/ckpt.safetensors=) | awk -F, 'NR > 1 && NR <= $(words $(fours)) + 1 { \
		printf "t200-four,%d,pair_accuracy,,%.9g\n", NR - 1, $$4 < 0 ? -$$4 : $$4; \
		printf "t200-four,%d,pair_tiers,,%.9g\n", NR - 1, $$5; \
		printf "t200-four,%d,pair_sorted,,%.9g\n", NR - 1, $$6 }' >$@
$D/figures.csv: $(figures) $D/unigram-own.csv $D/unigram-gpt2.csv $D/pairs.csv
	@{ echo variant,seed,figure,phase,value; cat $^; } >$@
