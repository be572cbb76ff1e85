# What there is to do with this repository. "make run" and "make build" need Go
# and nothing else; "make test" installs what is missing (see scripts/).
#
# No step is allowed to hang: every run of tests has a time limit.

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

GOTESTSUM   = $(GO) run gotest.tools/gotestsum@v1.13.0
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@2026.1.1

.PHONY: help build run docs check lint test test-all test-switches fuzz soak bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## one static binary at bin/maru
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/maru ./cmd/maru

run: build ## build and start, with all data in ./maru-data
	@exec bin/maru

docs: ## the parts of docs/ that are made from the code
	$(GO) run ./cmd/maru settings >docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md
