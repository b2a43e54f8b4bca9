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
.PHONY: help up test clients retail bench lint fmt setup clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

up: ## build, then run broker, registry, enforcer and a small retail company in one process, and show what happens; Ctrl-C ends it
	@compose/up

test: lint ## set up, lint and test everything: on the embedded broker, then on a real Apache Kafka, with real clients
	@compose/test

clients: setup ## run the same cases of Python, Java, Go, kcat and Kafka's own tools on both brokers and compare what they saw
	@compose/kafka/fetch
	@conformance/clients/compare

retail: ## run 1,469,307 real transactions through the enforcer and count what came of them
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

setup: ## install the Debian packages that the build needs, where they are missing
	@compose/setup

clean: ## remove what was built and fetched
	@rm -rf target .weir
