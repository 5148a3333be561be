#!/bin/sh
# page.sh DIR: DIR/page.html, of all verdicts that `make claims` left below DIR, and of the runs
# with and without a market that its claims compare.
set -eu
dir=$1
cd "$dir"
set --
for table in */verdicts.csv; do
	[ ! -e "$table" ] || set -- "$@" --table "$table"
done
for run in market/runs/B2c/* market/runs/fixed/*; do
	[ ! -d "$run" ] || set -- "$@" "$run"
done
moe-view -o page.html "$@"
echo "All verdicts on a page: $dir/page.html"
