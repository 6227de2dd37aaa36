# The menu: `make` lists it. Every job that CI runs is a target here.
SHELL := /bin/bash

# A folder for build products that outlives a checkout, used only if it exists.
CACHE := $(wildcard $(HOME)/.cache/noetl-lambda)
TOOLS := $(if $(CACHE),$(CACHE),$(CURDIR)/target)/tools
ifneq ($(CACHE),)
export CARGO_TARGET_DIR ?= $(CACHE)/target
endif
PRODUCTS := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
PYYAML := 6.0.2
CARGO_DENY := 0.20.2

.PHONY: help test lint check setup duckdb release bench sim fmt

help: ## Lists the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

test: setup lint release duckdb ## Installs what the tests need, then runs everything
	NOETL_BINARY=$(PRODUCTS)/release/noetl-lambda NOETL_PYTHON=$(TOOLS)/venv/bin/python3 \
		NOETL_DUCKDB_WORKER=$(PRODUCTS)/release/worker-duckdb \
		cargo test --workspace --no-fail-fast
	DUCKDB_LIB_DIR=$(TOOLS)/duckdb cargo test --release --quiet -p worker --features duckdb --bin worker-duckdb

setup: $(TOOLS)/venv/pyyaml-$(PYYAML) ## Installs what the tests need (idempotent, pinned)
	@echo "setup: ready ($(TOOLS))"

$(TOOLS)/venv/pyyaml-$(PYYAML):
	@python3 -c 'import ensurepip, venv' 2>/dev/null || (echo "setup: installing python3 and python3-venv" \
		&& apt-get update -qq && apt-get install -y -qq python3 python3-venv)
	@echo "setup: a Python environment with PyYAML $(PYYAML), for the conformance runner"
	python3 -m venv $(TOOLS)/venv
	$(TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check pyyaml==$(PYYAML)
	touch $@

duckdb: ## Installs libduckdb (idempotent, pinned) and builds worker-duckdb beside noetl-lambda
	infra/local/duckdb.sh $(TOOLS)/duckdb
	DUCKDB_LIB_DIR=$(TOOLS)/duckdb cargo build --release --quiet -p worker --features duckdb --bin worker-duckdb

lint: ## Formatting, clippy without warnings, purity, sizes
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	.ci/purity
	.ci/sizes

check: lint $(TOOLS)/bin/cargo-deny ## lint, and licences, sources and bans of all dependencies
	$(TOOLS)/bin/cargo-deny --all-features check --hide-inclusion-graph bans licenses sources

$(TOOLS)/bin/cargo-deny:
	@echo "check: building cargo-deny $(CARGO_DENY)"
	CARGO_TARGET_DIR=$(PRODUCTS)/cargo-deny cargo install cargo-deny --version $(CARGO_DENY) --locked --quiet --root $(TOOLS)

release: ## Builds the optimised binary
	cargo build --release --quiet

bench: release ## Measures chains and loops on the durable store; prints a table
	NOETL_BINARY=$(PRODUCTS)/release/noetl-lambda python3 tests/bench/bench.py

sim: ## Simulates SIM_SEEDS (default 20000) hostile worlds
	SIM_SEEDS=$${SIM_SEEDS:-20000} cargo test --release -p tests --test simulation -- --nocapture

fmt: ## Formats everything
	cargo fmt --all
