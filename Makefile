# What there is to do with this repository. "make run" and "make build" need Go
# and nothing else; "make test" installs what it misses (scripts/install-test-deps,
# scripts/kafka-jars). No run of tests can hang: each has a time limit.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

# How much each fuzz target runs in make test: enough to try its corpus and the
# neighbourhood of it. A number of executions, not a time, so that a slow machine
# tests the same.
FUZZTIME ?= 1000x
# The tag makes the waits of the Kafka client's mutexes visible to testing/synctest:
# without it virtual time would stand still now and then.
TAGS = synctests

# How long make soak runs.
SOAK ?= 10m

GOTESTSUM   = $(GO) run gotest.tools/gotestsum@v1.13.0 --format testname --format-hide-empty-pkg --
# Without U1000 (unused code): what only a build with other tags uses would count.
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help build run docs check lint test test-deps test-switches fuzz soak bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## one static binary at bin/maru
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/maru ./cmd/maru

run: build ## build and start, with all data in ./maru-data
	@exec bin/maru

docs: ## write what in docs/ is made from the code
	$(GO) run ./cmd/maru settings >docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

lint:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	$(GO) vet -tags $(TAGS),faultswitch ./...
	$(STATICCHECK) -checks inherit,-U1000 -tags $(TAGS),faultswitch ./...

check: lint ## the fast loop: everything that needs no other server
	$(GO) test -tags $(TAGS) -race -shuffle=on -timeout 10m ./...

test-deps:
	scripts/install-test-deps
	scripts/kafka-jars

# The last line is the summary of the test runner: DONE n tests.
test: test-deps lint fuzz test-switches ## everything, with real Kafka brokers and PostgreSQL
	MARU_TEST_KAFKA=1 MARU_TEST_POSTGRES=1 $(GOTESTSUM) -tags $(TAGS) -race -shuffle=on -p 1 -timeout 20m ./...

# Each step of the engine that protects data is turned off, and the checker must
# notice (internal/faultswitch).
test-switches:
	@set -e; files=$$(grep -rl --include='*_test.go' '^//go:build .*faultswitch' . || true); \
	for dir in $$(for f in $$files; do dirname "$$f"; done | sort -u); do \
		names=$$(grep -hl '^//go:build .*faultswitch' $$dir/*_test.go | xargs sed -n 's/^func \(Test[A-Za-z0-9_]*\)(.*/\1/p' | paste -s -d '|'); \
		echo "$(GO) test -tags $(TAGS),faultswitch -run ($$names) $$dir"; \
		$(GO) test -race -tags $(TAGS),faultswitch -timeout 10m -run "^($$names)\$$" $$dir; \
	done

# One binary per package, built for fuzzing, runs its targets one after the other.
fuzz: ## every fuzz target for a moment (FUZZTIME=1m for longer)
	@set -e; mkdir -p .cache/fuzz; work=$$PWD/.cache/fuzz; \
	for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		$(GO) test -tags $(TAGS) -c -fuzz Fuzz -o "$$work/test" "$$dir"; \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$dir/*_test.go); do \
			echo "fuzz $$name in $$dir"; \
			(cd "$$dir" && "$$work/test" -test.run '^$$' -test.fuzz "^$$name\$$" -test.fuzztime $(FUZZTIME) \
				-test.fuzzcachedir "$$work/$$name" -test.timeout 10m) >"$$work/out" 2>&1 || { cat "$$work/out"; exit 1; }; \
		done; \
	done

soak: ## real processes under signals for SOAK=10m
	MARU_TEST_KAFKA=1 MARU_TEST_POSTGRES=1 $(GO) test -tags $(TAGS) -v -count=1 -timeout 24h ./internal/soak -soak.for $(SOAK)

bench: ## the benchmarks of all packages
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m ./...
