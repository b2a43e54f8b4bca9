# Everything a user or a machine runs. Each target does its own set-up; `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Rust as rustup installs it, though the shell does not know it yet, or HOME is not the one it was installed under.
export PATH := $(PATH):$(HOME)/.cargo/bin
beside_cargo := $(wildcard $(dir $(shell command -v cargo))../../.rustup)
ifneq ($(beside_cargo),)
export RUSTUP_HOME ?= $(realpath $(beside_cargo))
endif
.PHONY: help up test retail bench lint fmt setup clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

up: setup ## start Kafka, the registry, the enforcer and a small retail company, and show what happens; Ctrl-C ends all of it
	@compose/up

test: setup lint ## set up, lint and test everything, with a real Apache Kafka and real clients
	@compose/python/fetch
	@compose/apicurio/fetch
	@mkdir -p .weir
	@status=0; cargo test --workspace --locked --no-fail-fast 2>&1 | tee .weir/test.log || status=$$?; \
	compose/results .weir/test.log; exit $$status

retail: setup ## run 1,469,307 real transactions through the enforcer and count what came of them
	@conformance/retail/run

bench: setup ## measure against the goals of BENCHMARKS.md
	@benches/run

lint: setup ## formatting, clippy, licences and sources of dependencies
	@{ cargo clippy --version && cargo fmt --version; } >/dev/null 2>&1 || rustup component add clippy rustfmt
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@compose/deny

fmt: ## format the code
	@cargo fmt --all

setup: ## install what is missing: Debian packages, Apache Kafka
	@compose/setup
	@compose/kafka/fetch

clean: ## remove what was built and fetched
	@rm -rf target .weir
