#!/bin/sh
# Every module of the library is listed in lib/LAYERS, and includes only modules listed before it.
. t/lib.sh

# misplaced ROOT: one line for each breach of ROOT/lib/LAYERS
misplaced() {
	(cd "$1" && awk '
	FILENAME == "lib/LAYERS" {
		sub(/#.*/, "")
		for (i = 2; i <= NF; i++)
			level[$1 "/" $i] = ++levels
		next
	}
	FNR == 1 {
		split(FILENAME, part, "/")
		room = part[2]
		self = room "/" part[3]
		sub(/\.[ch]$/, "", self)
		seen[self] = 1
		if (!(self in level))
			print FILENAME ": " self " is not in lib/LAYERS"
	}
	/^[ \t]*#[ \t]*include[ \t]*</ && /cblas/ && room != "math" {
		print FILENAME ":" FNR ": only lib/math may include OpenBLAS"
	}
	/^[ \t]*#[ \t]*include[ \t]*"/ {
		split($0, quoted, "\"")
		other = quoted[2]
		if (other !~ /\//)
			other = room "/" other
		sub(/\.[ch]$/, "", other)
		if (!(other in level))
			print FILENAME ":" FNR ": " quoted[2] " is not in lib/LAYERS"
		else if (self in level && level[other] > level[self])
			print FILENAME ":" FNR ": " self " includes upward, " other
	}
	END {
		for (module in level)
			if (!(module in seen))
				print "lib/LAYERS: " module " has no file"
	}' lib/LAYERS $(find lib -name '*.[ch]' | sort))
}

mkdir -p "$T/lib/base" "$T/lib/math"
cat >"$T/lib/LAYERS" <<'END'
# rooms, bottom first
base err mem
math gemm
END
echo '#include <stdio.h>' >"$T/lib/base/err.h"
echo '#include "err.h"' >"$T/lib/base/mem.c"
printf '#include "base/mem.h"\n#include <cblas.h>\n' >"$T/lib/math/gemm.c"
is "$(misplaced "$T")" "" "a tree in order is accepted"

echo '# include "math/gemm.h"' >>"$T/lib/base/err.h"
is "$(misplaced "$T")" "lib/base/err.h:2: base/err includes upward, math/gemm" \
	"an include of a higher room is refused"
echo '#include "base/mem.h"' >"$T/lib/base/err.h"
is "$(misplaced "$T")" "lib/base/err.h:1: base/err includes upward, base/mem" \
	"an include of a higher module in the same room is refused"
echo '#include <openblas/cblas.h>' >"$T/lib/base/err.h"
is "$(misplaced "$T")" "lib/base/err.h:1: only lib/math may include OpenBLAS" \
	"OpenBLAS outside lib/math is refused"
echo '#include "../cmd/moe-train.h"' >"$T/lib/base/err.h"
is "$(misplaced "$T")" "lib/base/err.h:1: ../cmd/moe-train.h is not in lib/LAYERS" \
	"an include from outside the library is refused"
echo >"$T/lib/base/err.h"
echo 'int x;' >"$T/lib/base/loose.c"
is "$(misplaced "$T")" "lib/base/loose.c: base/loose is not in lib/LAYERS" \
	"a module that is not listed is refused"
rm "$T/lib/base/loose.c" "$T/lib/base/mem.c"
is "$(misplaced "$T")" "lib/LAYERS: base/mem has no file" "a module without a file is refused"

is "$(misplaced .)" "" "the library is in order"
done_testing
