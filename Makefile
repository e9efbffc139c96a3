# Targets a newcomer can guess. Everything below works on a machine with Go alone, but
# for e2e, which installs the real clients from npm (and Node with them).

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0)
LDFLAGS  = -s -w -X main.Version=$(VERSION)

.PHONY: run build test race lint fuzz bench bench-go bench-baseline e2e docs fmt

run: ## start the gateway with its defaults
	$(GO) run ./cmd/sluice serve

build: ## one static binary in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(LDFLAGS)" -o bin/sluice ./cmd/sluice

test: ## quick tests, needs only Go
	$(GO) test ./...

race: ## the same with the race detector and poisoned buffers
	$(GO) test -race -tags bufdebug ./...

lint: ## formatting and vet
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...

fmt:
	gofmt -w $$(git ls-files '*.go')

FUZZTIME ?= 20s
fuzz: ## every fuzz target for FUZZTIME each
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; done; done

bench: build ## the figures of docs/bench.md: sluice beside the limit, in one run
	bench/run.sh bin/sluice

bench-go: ## Go benchmarks compared with the committed baseline
	bench/gobench.sh

bench-baseline: ## take a new baseline
	bench/gobench.sh -update

e2e: ## the real clients against this gateway (installs them; Node comes from npm)
	cmd/sluice/e2e/run.sh

docs: ## regenerate docs/config.md
	$(GO) test ./cmd/sluice -run Golden -update
