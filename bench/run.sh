#!/bin/sh
# Runs every figure that docs/bench.md promises and keeps the results in bin/bench:
# a table on standard output, suite.json, one JSON file a measurement, index.html.
#
#   bench/run.sh [sluice]         builds bin/sluice unless one is given
#   ONLY=speed,tracing            only these cases
#   FLOOD_SECONDS=60              the flood's time (15)
#   OC_MODULES=/opt/oc/node_modules   a real openclaw beside, started for the run
#   OPENCLAW_URL=ws://127.0.0.1:18801 OPENCLAW_PID=… OPENCLAW_TOKEN=…   or one that runs
#   STATE_DIR=/var/lib/x          the disk that durable writes are measured on (bin/bench)
#   STRICT=1                      fail as well for what depends on the disk or a quiet machine
#   SECONDS_EACH=4 ROUNDS=3 IDLE=10000
set -eu
cd "$(dirname "$0")/.."
bin=${1:-bin/sluice}
[ $# -gt 0 ] || CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$bin" ./cmd/sluice
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true

set -- --dir "${BENCH_DIR:-bin/bench}" --flood "${FLOOD_SECONDS:-15}s" --duration "${SECONDS_EACH:-4}s" --rounds "${ROUNDS:-3}" --idle "${IDLE:-10000}"
[ -z "${ONLY:-}" ] || set -- "$@" --only "$ONLY"
[ -z "${STATE_DIR:-}" ] || set -- "$@" --state-dir "$STATE_DIR"
[ "${STRICT:-0}" != 1 ] || set -- "$@" --strict
if [ -n "${OPENCLAW_URL:-}" ]; then
	set -- "$@" --openclaw "$OPENCLAW_URL${OPENCLAW_PID:+,pid=$OPENCLAW_PID}${OPENCLAW_TOKEN:+,token=$OPENCLAW_TOKEN}"
elif [ -n "${OC_MODULES:-}" ]; then
	set -- "$@" --openclaw "$OC_MODULES"
fi
exec "$bin" bench suite "$@"
