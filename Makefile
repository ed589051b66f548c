# Copyright (c) 2026, The magicwan.cloudflare authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

export LC_ALL := C.UTF-8
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.venv/collections

# The second ansible-core that the tests run on, beside the one of requirements/demo.txt.
CORES ?= 2.19
# The oldest ansible-core, and the one to come, on which `make compat` runs the tests.
COMPAT_CORES ?= 2.16 2.22
# The versions of ansible-core that `make sanity` runs its tests on; the slowest come first.
SANITY_CORES ?= 2.16 2.17 2.21 2.20 2.19 2.18
# How many scenarios `make model` plays.
SCENARIOS ?= 100000
# How many random kills `make faults` adds to its matrix.
KILLS ?= 200
# More arguments for the benchmark, for example: make bench BENCH_ARGS="--only a,b --sizes 100,1000 --latency 0"
BENCH_ARGS ?=
# More arguments for the matrix, for example: make devices DEVICES_ARGS="--platforms junos --scenarios right,wrong"
DEVICES_ARGS ?=
# Which scenarios `make e2e` plays; without any, all.
E2E_ARGS ?=
# What `make compat` runs on each version.
COMPAT_TESTS ?= tests/unit/plugins tests/integration/modules tests/integration/psk_rotation tests/integration/escrow \
	tests/integration/audit tests/integration/inventory
# More arguments for pytest, for example: make unit PYTEST_ARGS="-k escrow -x"
PYTEST_ARGS ?=
# Where the tests record which options they set.
RECORDED = build/recorded
PYTEST = .venv/bin/pytest -n 2 --dist loadfile $(PYTEST_ARGS)

.PHONY: help setup cores demo lint format unit integration contract snippets test untested compat sanity importer docs \
	faults leaks devices e2e eda model bench build clean

help: ## Show the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "make %-12s %s\n", $$1, $$2 }'

setup: ## Make .venv with everything the other targets need
	@tools/setup test

cores: setup ## Make the extra ansible-core versions of the tests under .venv/cores
	@tools/core-venv $(CORES)

demo: ## Rotate the PSKs of a simulated fleet, and show that a second run changes nothing
	@tools/setup demo
	@.venv/bin/python tools/demo

lint: setup ## Run ruff, mypy, yamllint, ansible-lint and the changelog's check
	@tools/lint

format: setup ## Format the Python files and fix what ruff can fix
	@.venv/bin/ruff check --fix --exit-zero .
	@.venv/bin/ruff format .

unit: setup ## Run the unit tests
	@$(PYTEST) tests/unit

integration: setup cores ## Run modules and roles against the simulator
	@$(PYTEST) tests/integration

contract: setup ## Check all that goes over the wire against an OpenAPI description, and by Cloudflare's SDK
	@$(PYTEST) tests/contract

snippets: setup ## Run every command and playbook of README and guides, and every example of every plugin
	@$(PYTEST) tests/docs

test: setup cores lint ## Run lint, unit, model (a few scenarios), integration, contract and snippets
	@$(PYTEST) tests/unit tests/model tests/integration tests/contract tests/docs

untested: setup cores ## Run all tests, and name the options of modules, roles and plugins that none of them sets
	@.venv/bin/python tools/untested expect $(RECORDED)
	@HARNESS_RECORDED=$(CURDIR)/$(RECORDED) $(PYTEST) tests/unit tests/model tests/integration tests/contract tests/docs
	@.venv/bin/python tools/untested check $(RECORDED)

compat: setup ## Run unit and integration tests on the oldest ansible-core and on the next one
	@tools/compat-venv $(COMPAT_CORES)
	@for core in $(COMPAT_CORES); do \
		echo "compat: ansible-core $$core"; \
		.venv/compat/$$core/bin/python -m pytest -q -n 2 --dist loadfile -k "not core-2.19" $(PYTEST_ARGS) \
			$(COMPAT_TESTS) || exit 1; \
	done

sanity: setup ## Run ansible-test sanity on every supported ansible-core
	@tools/core-venv $(SANITY_CORES)
	@.venv/bin/python tools/sanity $(SANITY_CORES)

importer: setup ## Import the built archive as Galaxy does, without a warning
	@tools/tool-venv importer
	@.venv/bin/python tools/importer

docs: setup ## Build the docsite in build/docs, without a warning
	@tools/tool-venv docs
	@.venv/bin/python tools/docs

model: setup ## Play the rotation against an adversary in simulated time, and see that it finds planted faults
	@.venv/bin/python -m tests.model --scenarios $(SCENARIOS)
	@.venv/bin/python -m tests.model --planted

faults: setup ## Kill rotations and break what they need, at every step, and show that a plain re-run recovers
	@.venv/bin/python -m tests.faults --kills $(KILLS)

leaks: setup ## Search all that rotations leave for PSKs and the token, on five versions of ansible-core
	@tools/core-venv 2.18 2.19 2.20 2.22
	@.venv/bin/pytest -q tests/integration/leaks -k planted
	@.venv/bin/python -m tests.leaks

devices: setup ## Bring PSKs into stand-ins for devices, by the vendors' collections: a table of platforms and scenarios
	@.venv/bin/python -m tests.devices $(DEVICES_ARGS)

e2e: setup ## Rotate on real strongSwan and Libreswan devices in network namespaces (root on Debian)
	@.venv/bin/python -m tests.e2e $(E2E_ARGS)

eda: setup ## Run the rulebooks in ansible-rulebook, against the simulator and a stand-in for AWX (Java 17)
	@tools/tool-venv eda
	@.venv/bin/python -m tests.eda

bench: setup ## Measure what rotations cost, beside what users would do instead (25 minutes, on a quiet machine)
	@.venv/bin/python -m tests.bench $(BENCH_ARGS)

build: setup ## Build the collection's archive in build/
	@.venv/bin/python tools/build

clean: ## Remove .venv and everything that was made
	rm -rf .venv build collections .ansible .pytest_cache .ruff_cache .mypy_cache .hypothesis tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
