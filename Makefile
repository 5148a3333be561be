# make          build the programs into bin/
# make deps     install the Debian packages that are missing
# make demo     prose, code and prose again: a market of experts beside a fixed pool, on real text
# make check    run all tests; asan, tsan: the same under sanitizers; fuzz: hostile files
# make claims   test the claims that moe-claims(7) numbers: hours, resumable, better with -j
# make bench lint install uninstall clean
# Variables: CC CFLAGS LDFLAGS, B (where to build), DESTDIR PREFIX, FUZZ_SECONDS BENCH_ROUNDS,
# and of claims PROSE CODE STORIES IMAGES TEXT GPT2 SYSTEM CLAIMS_DIR SEEDS SIZE

PREFIX ?= /usr/local
CFLAGS ?= -O3 -g
B ?= bin
FUZZ_SECONDS ?= 30
export B

# -Wno-sign-conversion: int counts index and size arrays throughout; their signs are checked where
# they enter, and a cast at each use would hide the narrowings that -Wconversion does find.
WARN = -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
# -ffp-contract=off: fused multiply-adds stand where the source writes them and nowhere else.
OWN = -std=gnu11 -D_GNU_SOURCE -Ilib -pthread -ffp-contract=off $(WARN)
LDLIBS = -Wl,--as-needed -lopenblas -lcsv -lmicrohttpd -ljansson -lz -lm

DEPS = gcc make libc6-dev libopenblas-dev libcsv-dev libjansson-dev libmicrohttpd-dev zlib1g-dev \
	perl mandoc bible-kjv libpython3-stdlib

# The kernels are one source, compiled for each instruction set and chosen at run time.
KERN = $(if $(filter x86_64,$(shell uname -m)),avx512 avx2) portable
KERN_avx512 = -march=x86-64-v4 -mprefer-vector-width=512
KERN_avx2 = -march=x86-64-v3

O = $(B)/obj
KERN_C = $(wildcard lib/math/kern.c lib/knn/scan.c lib/offload/chance.c)
LIB_C = $(filter-out $(KERN_C),$(wildcard lib/*/*.c))
# Styles and scripts of the page, as C strings.
ASSETS = $(sort $(wildcard lib/view/*.css lib/view/*.js))
LIB_O = $(LIB_C:%.c=$(O)/%.o) $(if $(ASSETS),$(O)/lib/view/assets.o) \
	$(foreach k,$(KERN),$(KERN_C:%.c=$(O)/%_$k.o))
PROGRAMS = $(patsubst cmd/%.c,$(B)/%,$(wildcard cmd/*.c))
TESTS = $(patsubst %.c,$(B)/%.t,$(wildcard t/[0-9]*.c))
BENCHES = $(patsubst %.c,$(B)/%,$(wildcard t/bench/*.c))
# quality.sh wants a text and many minutes: it is for calling by hand.
BENCH_SCRIPTS = $(filter-out t/bench/quality.sh,$(wildcard t/bench/*.sh))
FUZZERS = $(patsubst %.c,$(B)/%,$(wildcard t/fuzz/*.c))
PAGES = $(wildcard man/*.[157])

all: $(PROGRAMS)

define kernels
$(KERN_C:%.c=$(O)/%_$1.o): $(O)/%_$1.o: %.c $(O)/flags
	@mkdir -p $$(@D); echo "CC $$@"
	@$$(CC) $$(OWN) $$(CFLAGS) $(KERN_$1) -DKERN=$1 -MMD -MP -c -o $$@ $$<
endef
$(foreach k,$(KERN),$(eval $(call kernels,$k)))
$(O)/lib/view/assets.c: $(ASSETS)
	@mkdir -p $(@D); { echo '#include "view/assets.h"'; for f in $^; do n=$${f##*/}; \
		echo "const char assets_$${n%.*}_$${n##*.}[] ="; \
		sed 's/[\\"]/\\&/g; s/^/"/; s/$$/\\n"/' $$f; echo ';'; done; } >$@
$(O)/lib/view/assets.o: $(O)/lib/view/assets.c lib/view/assets.h $(O)/flags
	@echo "CC $@"; $(CC) $(OWN) $(CFLAGS) -c -o $@ $<
$(O)/%.o: %.c $(O)/flags
	@mkdir -p $(@D); echo "CC $@"
	@$(CC) $(OWN) $(CFLAGS) -MMD -MP -c -o $@ $<
$(B)/libmoe.a: $(LIB_O)
	@rm -f $@; $(AR) rcs $@ $^
$(PROGRAMS): $(B)/%: $(O)/cmd/%.o
$(TESTS): $(B)/%.t: $(O)/%.o
$(BENCHES) $(FUZZERS): $(B)/%: $(O)/%.o
$(PROGRAMS) $(TESTS) $(BENCHES) $(FUZZERS): $(B)/libmoe.a
	@mkdir -p $(@D); echo "LD $@"
	@$(CC) $(CFLAGS) -pthread $(LDFLAGS) -o $@ $(filter %.o,$^) $(B)/libmoe.a $(LDLIBS)
-include $(LIB_O:.o=.d) $(patsubst %.c,$(O)/%.d,$(wildcard cmd/*.c t/[0-9]*.c t/*/*.c))

# A file that changes with the flags: other flags, another build.
$(O)/flags: force
	@mkdir -p $(@D); echo '$(CC) $(OWN) $(CFLAGS) $(LDFLAGS)' | cmp -s - $@ || \
		echo '$(CC) $(OWN) $(CFLAGS) $(LDFLAGS)' >$@
# With -j, too, `make deps check` first brings the compiler and then uses it.
ifneq (,$(filter deps,$(MAKECMDGOALS)))
$(O)/flags: | deps
endif

deps:
	@missing=$$(for p in $(DEPS); do dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | \
		grep -q ' ok installed$$' || printf ' %s' $$p; done); \
	[ "$$missing" ] || { echo "deps: nothing is missing"; exit 0; }; \
	get="apt-get install -y --no-install-recommends$$missing"; \
	case $$(id -u) in 0) root= ;; *) root='sudo ' ;; esac; \
	if command -v $${root:-apt-get} >/dev/null; then \
		echo "deps: $${root}apt-get update; $$root$$get"; \
		export DEBIAN_FRONTEND=noninteractive; \
		$${root}apt-get -q update; $$root$$get && exit 0; \
	fi; \
	echo "deps: not installed:$$missing"; echo "deps: as root, run: $$get"; exit 1

demo: all
	@sh t/demo.sh

check: all $(TESTS)
	@prove -j2 t/*.t $(TESTS)

# A sanitizer's report exits 99, which no test expects.
SAN = -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all
asan tsan fuzz: export ASAN_OPTIONS = exitcode=99
asan tsan fuzz: export LSAN_OPTIONS = exitcode=99
asan tsan fuzz: export TSAN_OPTIONS = exitcode=99
asan tsan fuzz: export UBSAN_OPTIONS = exitcode=99:print_stacktrace=1
asan:
	@$(MAKE) B=bin/asan CFLAGS='$(SAN) -fsanitize=address,undefined' check
tsan:
	@$(MAKE) B=bin/tsan CFLAGS='$(SAN) -fsanitize=thread' check-threads

# What computes, reads or serves in parallel: tasks, math, model, train, keys, stores, the page that
# is live; but 410 and 480 have one worker.
THREADED = $(filter-out t/410% t/480%, \
	$(filter t/11% t/2% t/4% t/5% t/80% t/83%,$(TESTS:$(B)/%=%)))
THREADED_SH = $(wildcard t/[245]*.t t/660*.t t/680*.t t/835*.t t/841*.t)
check-threads: all $(THREADED:%=$(B)/%)
	@prove -j2 $(THREADED_SH) $(THREADED:%=$(B)/%)

fuzz:
	@command -v clang >/dev/null || \
		{ echo 'fuzz: as root, run: apt-get install clang'; exit 1; }
	@$(MAKE) B=bin/fuzz CC=clang \
		CFLAGS='$(SAN) -fsanitize=fuzzer,address,undefined' fuzzers
fuzzers: $(FUZZERS)
	@for f in $(FUZZERS); do mkdir -p $$f.corpus && \
		$$f -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$$f- \
		$$f.corpus testdata/fuzz/$${f##*/} || exit 1; done

bench: all $(BENCHES)
	@echo bench,config,ours,peer,unit,ratio,share_of_peak
	@PATH="$(abspath $(B)):$$PATH"; for b in $(BENCHES); do $$b || exit 1; done; \
		for b in $(BENCH_SCRIPTS); do sh $$b || exit 1; done

# Without -j as many runs at a time as there are processors.
CLAIMS = market ecology keystore living xslot
CLAIMS_DIR ?= $(B)/claims
export CLAIMS_DIR
claims: $(CLAIMS:%=claims-%)
	@PATH="$(abspath $(B)):$$PATH" sh t/claims/page.sh $(CLAIMS_DIR)
$(CLAIMS:%=claims-%): claims-%: all
	@$(MAKE) $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc)) --no-print-directory \
		-f t/claims/$*.mk
claims-xslot: $(B)/t/bench/xslot

lint:
	@for p in clang-format cppcheck mandoc; do command -v $$p >/dev/null || \
		{ echo "lint: as root, run: apt-get install $$p"; exit 1; }; done
	clang-format --dry-run -Werror $(wildcard lib/*/*.[ch] cmd/*.[ch] t/*.[ch] t/*/*.[ch])
	cppcheck -q --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
		-Ilib -D_GNU_SOURCE -DKERN=portable \
		'-Djson_object_foreach(o, k, v)=while (next(o, &k, &v))' lib cmd
	mandoc -Tlint -Wwarning $(PAGES)

BIN = $(DESTDIR)$(PREFIX)/bin
INCLUDE = $(DESTDIR)$(PREFIX)/include
MAN = $(DESTDIR)$(PREFIX)/share/man
install: all
	install -d "$(BIN)" "$(INCLUDE)" "$(MAN)/man1" "$(MAN)/man5" "$(MAN)/man7"
	install $(PROGRAMS) "$(BIN)"
	install -m 644 cmd/moe.mk "$(INCLUDE)"
	for p in $(PAGES:man/%=%); do install -m 644 man/$$p "$(MAN)/man$${p##*.}" || exit 1; done
uninstall:
	for p in $(notdir $(PROGRAMS)); do rm -f "$(BIN)/$$p"; done
	rm -f "$(INCLUDE)/moe.mk"
	for p in $(PAGES:man/%=%); do rm -f "$(MAN)/man$${p##*.}/$$p"; done

clean:
	rm -rf $(B)

.PHONY: all deps demo check asan tsan check-threads fuzz fuzzers bench claims \
	$(CLAIMS:%=claims-%) lint install uninstall clean force
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
