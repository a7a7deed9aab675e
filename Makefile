# Targets print themselves: make help. Two of them do all the set-up on a fresh machine: make demo, make test.
SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: soak sim-check help build generate demo demo-clean test conformance setup lint docs audit bench e2e e2e-pegasus resume fuzz clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: generate ## build bin/pegbook with the programs it embeds
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/pegbook ./cmd/pegbook

generate: ## build what pegbook embeds: the helper for managed hosts and the simulated pegasus_server
	@$(GO) generate ./runner/connect ./lab

demo: build ## deploy and rolling-update a simulated Pegasus cluster on this machine, under load (< 2 minutes)
	@scripts/demo

demo-clean: ## stop and remove what make demo left running
	@if [ -x bin/pegbook ]; then bin/pegbook lab down; fi

setup: ## install what the tests need (Debian packages; root or sudo)
	@scripts/setup

test: setup build ## every test, against real sshd, ZooKeeper and systemd hosts too
	@scripts/test

conformance: generate ## what Ansible's keywords mean: pegbook against recorded runs, as a table
	$(GO) test -C cmd/pegbook -count=1 -run '^TestConformance$$' -args table

sim-check: ## replay what was recorded of a real Pegasus 2.5.0 against the simulated one, as a table
	@scripts/sim-check

lint: ## gofmt, go vet and the small set of golangci-lint checks
	@scripts/lint

docs: generate ## write docs/reference from the program: modules, keywords, functions, commands
	@$(GO) generate ./cmd/pegbook

bench: build ## the speed table: pegbook beside its peers and the raw limit of SSH
	@scripts/bench

e2e: build ## the main job at production times, under load (ten minutes)
	@scripts/e2e

e2e-pegasus: setup build ## every playbook on systemd hosts, then rolling updates with faults put in: two tables (SCALE=1, 50 minutes)
	@PEGBOOK_TEST_EVERY_PLAYBOOK=1 $(GO) test ./cmd/pegbook -count=1 -timeout 30m -v -run '^TestEveryPlaybookOnMachines$$'
	@scripts/e2e-pegasus $(SCALE)

soak: build ## rolling updates in the lab under faults by chance, and a table of them (RUNS=200, SEED=n, ONLY=n, TABLE=file; 30 minutes)
	@RUNS=$(RUNS) SEED=$(SEED) ONLY=$(ONLY) TABLE=$(TABLE) scripts/soak

EVERY ?= 10
resume: build ## kill -9 runs at their events and go on with them; prints tables of differences (EVERY=n, 1: all events; BOOKS="rolling-update"; ONLY="event 20+40": one life; every construct takes 15 minutes, the lab 11 for 10)
	@PEGBOOK_TEST_EVERY_BOUNDARY=1 $(GO) test ./runner -count=1 -v -timeout 1h -run TestARun
	@PEGBOOK=$(CURDIR)/bin/pegbook PEGBOOK_TEST_KILLS_EVERY=$(EVERY) PEGBOOK_TEST_KILLS_BOOKS='$(BOOKS)' PEGBOOK_TEST_KILLS_ONLY='$(ONLY)' \
		$(GO) test ./cmd/pegbook -count=1 -v -timeout 5h -run TestAPlaybookOfTheCluster

fuzz: ## every fuzz target for 20 seconds
	@scripts/fuzz 20s

audit: ## known vulnerabilities, module sums, every fuzz target for 30 seconds
	@scripts/audit

clean: ## remove what building made
	rm -rf bin runner/connect/embedded/*.gz lab/embedded/*.gz
