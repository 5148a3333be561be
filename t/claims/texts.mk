# Texts as $T/NAME.all: the files PROSE and CODE, else what this machine has, `limit` bytes at
# most of each.
PROSE ?=
CODE ?=
$T/prose.all: from = $(if $(PROSE),cp $(PROSE),moe-data text bible --limit $(limit) -o)
$T/code.all: from = $(if $(CODE),cp $(CODE),moe-data text python --limit $(limit) -o)
$T/c.all: from = moe-data text c --limit $(limit) -o
$T/perl.all: from = moe-data text perl --limit $(limit) -o
$T/law.all: from = moe-data text licenses --limit $(limit) -o
$T/%.all:
	@mkdir -p $T
	@$(from) $@
