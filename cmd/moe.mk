# Batches of moe-train for a Makefile of one's own, which sets these and includes this file:
#	MOE_DATA MOE_STEPS MOE_OPTIONS MOE_SEEDS MOE_SWEEP MOE_VARIANTS MOE_KEEP
#	MOE_RUNS MOE_JOBS MOE_TRAIN
# `make -jN moe-runs` brings the runs up to date, `make -s moe-commands` prints a command for each;
# MOE_CKPTS are their checkpoints.  See moe.mk(5).

MOE_TRAIN ?= moe-train
MOE_RUNS ?= runs
MOE_SEEDS ?= 1
MOE_JOBS ?= 1

moe-runs: # the default goal of a Makefile that has no other

# What a variant has of its own, or else what is common: $(call moe_of,STEPS,variant)
moe_of = $(if $(filter undefined,$(origin MOE_$1.$2)),$(MOE_$1),$(MOE_$1.$2))
# MOE_OPTIONS are not replaced but added to.
moe_options = $(MOE_OPTIONS) $(MOE_OPTIONS.$1)

# Words name:a,b name:c,d make the points name=a_name=c name=a_name=d name=b_name=c name=b_name=d.
moe_comma = ,
moe_axis = $(foreach v,$(subst $(moe_comma), ,$(word 2,$(subst :, ,$1))),$(firstword $(subst \
	:, ,$1))=$v)
moe_points = $(if $(word 2,$1),$(foreach p,$(call moe_axis,$(firstword $1)),$(addprefix $p_,$(call \
	moe_points,$(wordlist 2,$(words $1),$1)))),$(call moe_axis,$1))

# A run is variant|point|seed, where - stands for no variant and for no point.
moe_run = $(foreach v,$(or $(MOE_VARIANTS),-),$(foreach p,$(or $(call moe_points,$(strip \
	$(MOE_SWEEP))),-),$(foreach s,$(call moe_of,SEEDS,$v),$v|$p|$s)))
moe_part = $(filter-out -,$(word $2,$(subst |, ,$1)))
moe_name = $(or $(subst =,-,$(subst $() ,_,$(strip $(call moe_part,$1,1) $(call \
	moe_part,$1,2)))),run)
moe_dir = $(MOE_RUNS)/$(call moe_name,$1)/$(call moe_part,$1,3)

# The run's command up to a number of steps: $(call moe_train,run,steps)
moe_train = $(MOE_TRAIN) -j $(MOE_JOBS) $(strip $(call moe_options,$(call moe_part,$1,1)) $(addprefix \
	--,$(subst _, ,$(call moe_part,$1,2))) --seed=$(call moe_part,$1,3)) --steps=$2 -o $(call \
	moe_dir,$1) $(call moe_of,DATA,$(call moe_part,$1,1))
# Up to each step of MOE_KEEP, whose checkpoint then stays as ckpt-STEP.safetensors.
moe_leg = { [ -e $2/ckpt-$3.safetensors ] || { $(call moe_train,$1,$3) && cp \
	$2/ckpt.safetensors $2/ckpt.kept && mv $2/ckpt.kept $2/ckpt-$3.safetensors; }; } &&
moe_legs = $(foreach k,$(call moe_of,KEEP,$(call moe_part,$1,1)),$(call moe_leg,$1,$(call \
	moe_dir,$1),$k))
moe_command = $(strip mkdir -p $(call moe_dir,$1) && $(call moe_legs,$1) exec $(call \
	moe_train,$1,$(call moe_of,STEPS,$(call moe_part,$1,1))))

# moe-train returns at once from a complete run, whose files it leaves alone: what is made from
# them stays up to date.  An interrupted run goes on from its checkpoint, which make must not delete.
define moe_rule
$(call moe_dir,$1)/ckpt.safetensors: moe-force
	@$(call moe_command,$1)
.PRECIOUS: $(call moe_dir,$1)/ckpt.safetensors
moe-runs: $(call moe_dir,$1)/ckpt.safetensors
endef
$(foreach r,$(moe_run),$(eval $(call moe_rule,$r)))
MOE_CKPTS = $(foreach r,$(moe_run),$(call moe_dir,$r)/ckpt.safetensors)

moe-commands:
	@:$(foreach r,$(moe_run),$(info $(call moe_command,$r)))
moe-force:
.PHONY: moe-runs moe-commands moe-force
