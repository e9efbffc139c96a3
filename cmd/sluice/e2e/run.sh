#!/usr/bin/env bash
# run.sh installs the pinned real clients, builds sluice and runs the end-to-end tests (`make e2e`).
#
# Needs: Go, Node's npm (any version that reads lockfileVersion 3), network to the npm registry and
# the Go module proxy on the first run, x86-64 Linux (the pinned Node binary is for that). Nothing is
# installed outside this folder. Arguments go to `go test`: ./run.sh -run TestProbes -v
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../../.." && pwd)"

need() {
  command -v "$1" >/dev/null 2>&1 && return
  echo "e2e: '$1' is missing: $2" >&2
  exit 1
}
need go "install Go (the version in go.mod) and put it on PATH"
need npm "install Node.js with npm; on Debian: apt-get install -y nodejs npm"

# The packages' own install scripts are not run: they want a newer Node than many hosts have, and
# nothing under test needs what they build. The clients run on the Node binary that is itself one of
# the pinned packages. They live under .cache because `go` patterns like ./... skip folders whose name
# begins with a dot, and some npm packages contain Go files. A stamp of the lock file makes a second
# run start at once.
cache="$here/.cache"
mkdir -p "$cache"
install_clients() {
  local from="$1" to="$2" stamp
  stamp="$(cat "$from/package.json" "$from/package-lock.json" | sha256sum | cut -d' ' -f1)"
  if [[ -f "$to/.stamp" && "$(cat "$to/.stamp")" == "$stamp" ]]; then
    return
  fi
  echo "e2e: installing the pinned clients of ${from#"$root"/}"
  mkdir -p "$to"
  rm -f "$to/.stamp"
  cp -R "$from/package.json" "$from/package-lock.json" "$to/"
  [[ ! -d "$from/baileys-stub" ]] || cp -R "$from/baileys-stub" "$to/"
  (cd "$to" && npm ci --ignore-scripts --prefer-offline --no-audit --no-fund --loglevel=error)
  echo "$stamp" >"$to/.stamp"
}
install_clients "$here" "$cache/clients"
install_clients "$here/feb" "$cache/feb"

# Jaeger is a module of its own (some 150 indirect dependencies that have no place in ours). Its
# binary is kept by version: a cold build takes three minutes, a warm one nothing.
jaeger_version="$(cd "$here/jaeger" && go list -m -f '{{.Version}}' github.com/jaegertracing/jaeger)"
jaeger="$cache/jaeger-$jaeger_version"
if [[ ! -x "$jaeger" ]]; then
  echo "e2e: building Jaeger $jaeger_version (about three minutes, once)"
  (cd "$here/jaeger" && go build -o "$jaeger.tmp" github.com/jaegertracing/jaeger/cmd/all-in-one)
  mv "$jaeger.tmp" "$jaeger"
fi

bin="$cache/sluice"
(cd "$root" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$bin" ./cmd/sluice) # as `make build` does

export E2E_SLUICE="$bin" E2E_JAEGER="$jaeger" E2E_CLIENTS="$cache/clients/node_modules" E2E_FEB="$cache/feb/node_modules"
cd "$root"
exec go test -tags e2e -count=1 -timeout 30m ./cmd/sluice/e2e/ "$@"
