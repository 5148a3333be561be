#!/bin/sh
# living-memory.sh DATA: what the system has back when experts die, as CSV: the resident memory of
# moe-train before and after, and what the dead took, in MB.  62 of 64 wide experts starve at once.
set -eu
LC_ALL=C
export LC_ALL
T=$(mktemp -d "${TMPDIR:-/tmp}/moe-claims.XXXXXX")
trap 'rm -rf "$T"' EXIT
trap 'exit 1' HUP INT TERM
variant=memory seed=1
. "$(dirname "$0")/columns.sh"

# Weights, gradient and two moments of 2 * 64 * 2048 numbers: 4 MiB each.  The policy is at the
# other end of a pipe and waits, so that memory is looked at when nothing happens.
mkfifo "$T/down" "$T/up"
moe-train -j 1 --dim 64 --layers 1 --heads 2 --hidden 2048 --seq 32 --batch 8 --steps 40 \
	--experts 64 --max-experts 64 --lifecycle living --decisions "$T/down" \
	--experts-csv "$T/up" -o "$T/run" "$1" &
exec 4<"$T/up" 3>"$T/down"
resident() { awk '{ printf "%.9g\n", $2 * 4096 / 1e6 }' "/proc/$!/statm"; }
# The census of the next step, whose rows end with left 0.
census() {
	while IFS= read -r line <&4; do
		case $line in step,*) ;; *,0) break ;; esac
	done
}
census
before=$(resident)
echo step,layer,slot,event,left >&3
for slot in $(seq 2 63); do
	echo "10,0,$slot,death,$((63 - slot))" >&3
done
census
after=$(resident)
echo 20,0,0,keep,0 >&3
census
echo 30,0,0,keep,0 >&3
census
echo 40,0,0,keep,0 >&3
wait $!
exec 3>&- 4<&-
printf 'before - %s\nafter - %s\ndead - %s\n' "$before" "$after" \
	"$(awk 'BEGIN { print 62 * 4 * 2 * 64 * 2048 * 4 / 1e6 }')" | rows
