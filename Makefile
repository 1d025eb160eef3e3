# The commands of this project; `make help` lists them. Every target names what it needs and stops
# with that name when it is missing. Rust itself comes from https://rustup.rs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

CARGO ?= cargo
TOOLS := target/tools
# Where the tests look for the tools they drive.
export PATH := $(CURDIR)/$(TOOLS)/bin:$(PATH)

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

# Starts a step of `make test`, with the seconds since make began.
BEGAN := $(shell date +%s)
step = @echo; echo "== $(1) (at $$(( $$(date +%s) - $(BEGAN) )) s)"
# Fails, saying what is missing: $(call need,command,where it comes from)
need = @command -v $(1) >/dev/null || { echo 'make $@ needs $(1): $(2)' >&2; exit 1; }

.PHONY: help dev build test format-check lint doc deny unit sim process process-sharded \
	conformance monitoring soak planted coverage porcupine bench ghz picture chaos model fmt clean \
	chart chart-both image seccomp containers scripts kind redeploy kind-clean pods pods-real

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

dev: build ## Build and run a three-node cluster on this machine
	target/release/mokv dev

build: ## Build target/release/mokv
	$(call need,cc,Debian package build-essential)
	$(call need,git,Debian package git)
	$(CARGO) build --release --locked --bin mokv

test: format-check lint doc deny unit sim process process-sharded conformance monitoring chart scripts ## Everything that must hold, under 25 minutes on 2 cores
	$(call step,all passed)

format-check: ## Check the formatting
	$(call step,$@)
	$(CARGO) fmt --all --check

lint: ## Run clippy over every target; a warning is an error
	$(call step,$@)
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc: ## Build the documentation; a warning is an error
	$(call step,$@)
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --document-private-items --locked

deny: $(CARGO_DENY) ## Check licences, banned crates and sources of dependencies (deny.toml)
	$(call step,$@)
	$(CARGO_DENY) --locked check --hide-inclusion-graph licenses bans sources

$(CARGO_DENY):
	$(CARGO) install cargo-deny --version $(CARGO_DENY_VERSION) --locked --debug \
		--root $(dir $(@D)) --target-dir $(TOOLS)/build

unit: ## Run unit, golden, property and tidy tests
	$(call step,$@)
	$(CARGO) test --locked --lib --bins --test tidy
	$(CARGO) test --locked --doc
	$(CARGO) test --locked --package mokv-client

SIM := $(CARGO) run --release --locked --quiet --bin sim --
sim: ## Run 1,000 seeds of the simulated cluster, with a minute of faults each
	$(call step,$@)
	$(SIM) --seeds 1000 --minutes 1

process: build ## Run the tests of real server processes, with 3 rounds of crashes
	$(call step,$@)
	MOKV_BINARY=$(CURDIR)/target/release/mokv $(CARGO) test --locked --test process

process-sharded: build ## The same with two executors a server, but for the million keys
	$(call step,$@)
	MOKV_SHARDS=2 MOKV_BINARY=$(CURDIR)/target/release/mokv $(CARGO) test --locked --test process -- \
		--skip snapshot::

conformance: build ## Drive a cluster with stock gRPC clients: Python's grpcio, and ghz
	$(call step,$@)
	$(call need,python3,Debian packages python3 and python3-venv)
	tests/python/run $(TOOLS) target/release/mokv

monitoring: build ## Check metrics, alerts and dashboard with promtool and a real cluster
	$(call step,$@)
	$(call need,python3,Debian packages python3 and python3-venv)
	tests/monitoring/run $(TOOLS) target/release/mokv

chart: build ## Test the Helm chart: lint, unit tests, bad values, and Kubernetes' schemas
	$(call step,$@)
	$(call need,python3,Debian packages python3 and python3-venv)
	tests/chart/run $(TOOLS) target/release/mokv

PODS_ARGS ?=
pods: build ## Play the chart's pods through rollouts, scaling, drains and failures under load; needs root (some minutes)
	$(call need,python3,Debian packages python3 and python3-venv)
	tests/kubernetes/run $(TOOLS) target/release/mokv $(PODS_ARGS)

pods-real: build ## The same under a real control plane, which is built the first time (some minutes more)
	$(call need,python3,Debian packages python3 and python3-venv)
	tests/kubernetes/run $(TOOLS) target/release/mokv --control-plane $(PODS_ARGS)

OTHER_HELM_VERSION ?= v4.3.1
chart-both: build ## The same, and that another Helm renders the same; builds it the first time (some minutes)
	$(call need,python3,Debian packages python3 and python3-venv)
	tests/chart/run $(TOOLS) target/release/mokv $(OTHER_HELM_VERSION)

SOAK_MINUTES ?= 60
soak: ## Run seeds that no soak has run before for SOAK_MINUTES (60), with 10 minutes of faults each
	$(SIM) --soak $(SOAK_MINUTES)

planted: ## Plant each bug in turn, and write docs/planted.md: how soon the simulator catches it (many minutes)
	RUSTFLAGS='--cfg planted' $(CARGO) run --profile planted --locked --target-dir target/planted \
		--bin sim -- --planted

COVERAGE := $(CURDIR)/target/coverage
COVERAGE_SEEDS ?= 300
# The tools of rustc's own LLVM; others may not read its profiles.
LLVM = $(shell rustc --print sysroot 2>/dev/null)/lib/rustlib/$(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')/bin
coverage: ## Write docs/coverage.md: the lines of the deciding rooms that the simulator runs (some minutes)
	$(call need,$(LLVM)/llvm-cov,rustup component add llvm-tools)
	$(call need,python3,Debian package python3)
	RUSTFLAGS='-C instrument-coverage' CARGO_PROFILE_RELEASE_LTO=off $(CARGO) build --release --locked \
		--target-dir $(COVERAGE) --bin sim
	rm -f $(COVERAGE)/*.profraw
	LLVM_PROFILE_FILE=$(COVERAGE)/%p.profraw $(COVERAGE)/release/sim --seeds $(COVERAGE_SEEDS)
	@echo 'Replaying some seeds, which also writes their messages out'
	for seed in 1 2 3 4; do \
		LLVM_PROFILE_FILE=$(COVERAGE)/%p.profraw $(COVERAGE)/release/sim --seed $$seed --minutes 2 >/dev/null; \
	done
	$(LLVM)/llvm-profdata merge -sparse $(COVERAGE)/*.profraw -o $(COVERAGE)/sim.profdata
	$(LLVM)/llvm-cov export -format=lcov -instr-profile=$(COVERAGE)/sim.profdata \
		$(COVERAGE)/release/sim src/raft src/gossip src/node src/storage > $(COVERAGE)/sim.lcov
	tests/coverage/report $(COVERAGE)/sim.lcov $(COVERAGE_SEEDS) > docs/coverage.md

HISTORIES := $(CURDIR)/target/porcupine
porcupine: ## Have the Go checker porcupine judge 2,000 histories that ours has judged
	$(call need,go,https://go.dev/dl or Debian package golang-go)
	rm -rf $(HISTORIES)
	MOKV_HISTORIES=$(HISTORIES) $(CARGO) test --locked --lib histories_for_porcupine -- --ignored
	cd tests/porcupine && go run . -expect valid $(HISTORIES)/linearizable $(HISTORIES)/fault-across-keys
	cd tests/porcupine && go run . -expect invalid $(HISTORIES)/fault-of-a-key

bench: build ## Measure puts and reads beside etcd's; installs Debian's etcd-server and nghttp2-client
	@command -v etcd >/dev/null || apt-get install -y --no-install-recommends etcd-server
	@command -v h2load >/dev/null || apt-get install -y --no-install-recommends nghttp2-client
	MOKV_BINARY=$(CURDIR)/target/release/mokv $(CARGO) bench --profile dev --locked --bench kv

ghz: build ## Load a cluster with ghz: each member of one that it starts, or HOST=host:port; reports in target/ghz
	benches/ghz/run $(TOOLS) target/release/mokv target/ghz $(HOST)

picture: build ## Draw docs/dashboard.png: the dashboard's queries on a cluster under load (5 minutes)
	$(call need,python3,Debian packages python3 and python3-venv)
	tests/monitoring/picture/run $(TOOLS) target/release/mokv docs/dashboard.png

chaos: build ## Run 100 rounds of each crash test (some minutes)
	MOKV_CHAOS_ROUNDS=100 MOKV_BINARY=$(CURDIR)/target/release/mokv $(CARGO) test --locked --test process crash -- --nocapture

model: ## Explore Raft exhaustively within larger bounds than `make unit` does (some minutes)
	CARGO_PROFILE_TEST_OPT_LEVEL=3 $(CARGO) test --locked --lib raft::testing::model -- --include-ignored --nocapture

image: ## Build the container image for this machine, or with ARCH=arm64 for another
	deploy/docker/build

seccomp: ## Write deploy/docker/seccomp.json: Docker's default profile and io_uring
	$(call need,python3,Debian package python3)
	deploy/docker/seccomp/generate

containers: ## Test the image: confined, and as three members that are cut off, killed and moved
	$(call need,python3,Debian package python3)
	tests/containers/run

scripts: ## Check the scripts of deploy/, with stand-ins for docker, kind, kubectl, helm and cargo
	$(call step,$@)
	$(call need,python3,Debian package python3)
	tests/scripts/run

kind: ## Run mökv on a local Kubernetes: make the cluster if it is missing, build, load, install, wait
	deploy/kind/local up

redeploy: ## Build the image again and replace the pods of `make kind`
	deploy/kind/local redeploy

kind-clean: ## Remove the cluster of `make kind` and its data
	deploy/kind/local clean

fmt: ## Format the sources
	$(CARGO) fmt --all

clean: ## Remove everything that was built, the downloaded tools too
	$(CARGO) clean
