#!/bin/sh
# Runs the Go benchmarks of the packages in ./packages and compares them with the
# committed ./baseline.txt by benchstat. Times are for people: machines differ, and two
# runs on one machine differ too. Allocations are exact, so more of them than in the
# baseline is an error (exit 1).
#
#   bench/baseline/run.sh            compare
#   bench/baseline/run.sh update     replace the baseline (on a quiet machine)
#   COUNT=10 BENCHTIME=1s ...        more runs, longer runs
set -eu
cd "$(dirname "$0")/../.."
dir=bench/baseline
new=$(mktemp)
trap 'rm -f "$new"' EXIT
# shellcheck disable=SC2046 # one package a line
go test -run '^$' -bench . -benchmem -count "${COUNT:-6}" -benchtime "${BENCHTIME:-200ms}" $(grep -v '^#' $dir/packages) >"$new"
if [ "${1:-}" = update ]; then
	cp "$new" $dir/baseline.txt
	go run golang.org/x/perf/cmd/benchstat $dir/baseline.txt
	exit 0
fi
go run golang.org/x/perf/cmd/benchstat $dir/baseline.txt "$new"
awk '
	/^pkg:/ { pkg = $2 }
	/^Benchmark/ && /allocs\/op/ {
		name = $1; sub(/-[0-9]+$/, "", name); name = pkg " " name; n = $(NF - 1) + 0
		if (FNR == NR) { if (!(name in old) || n < old[name]) old[name] = n }
		else if (!(name in cur) || n < cur[name]) cur[name] = n
	}
	END {
		bad = 0
		for (name in cur) if (name in old && cur[name] > old[name]) {
			printf "MORE ALLOCATIONS: %s: %d, the baseline has %d\n", name, cur[name], old[name]; bad = 1
		}
		exit bad
	}' $dir/baseline.txt "$new"
