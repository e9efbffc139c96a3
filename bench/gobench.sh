#!/bin/sh
# Runs the Go benchmarks that bench/baseline/packages lists and compares them with the
# committed bench/baseline/baseline.txt by benchstat. Times are for people: machines
# differ, and two runs on one machine differ too. Allocations hardly do, so a benchmark
# that allocates more than a tenth above the baseline is an error (exit 1); one that
# allocated nothing must go on so.
#
#   bench/gobench.sh             compare
#   bench/gobench.sh -update     replace the baseline (on a quiet machine)
#   COUNT=10 BENCHTIME=1s ...    more runs, longer runs
set -eu
cd "$(dirname "$0")/.."
dir=bench/baseline
benchstat=golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
new=$(mktemp)
trap 'rm -f "$new"' EXIT
while read -r package pattern; do
	case $package in '' | '#'*) continue ;; esac
	go test -run '^$' -bench "$pattern" -benchmem -count "${COUNT:-6}" -benchtime "${BENCHTIME:-200ms}" "$package" </dev/null >>"$new"
done <$dir/packages
if [ "${1:-}" = -update ]; then
	cp "$new" $dir/baseline.txt
	go run $benchstat $dir/baseline.txt
	exit 0
fi
go run $benchstat $dir/baseline.txt "$new"
awk '
	/^pkg:/ { pkg = $2 }
	/^Benchmark/ && /allocs\/op/ {
		name = $1; sub(/-[0-9]+$/, "", name); name = pkg " " name; n = $(NF - 1) + 0
		if (FNR == NR) { if (!(name in old) || n < old[name]) old[name] = n }
		else if (!(name in cur) || n < cur[name]) cur[name] = n
	}
	END {
		bad = 0
		for (name in cur) if (name in old && cur[name] > old[name] * 1.1 + 0.5) {
			printf "MORE ALLOCATIONS: %s: %d, the baseline has %d\n", name, cur[name], old[name]; bad = 1
		}
		exit bad
	}' $dir/baseline.txt "$new"
