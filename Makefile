# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
US := $(VENV)/bin/understudy
DEMO_RUNS ?= 5

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint types sim clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## packages from Debian and the virtual environment (others call it)
	@scripts/setup

demo: setup ## bring the example pair up, kill its active gateway, report what users felt
	@scripts/demo $(DEMO_RUNS)

test: setup ## all tests
	@$(PY) -m pytest

lint: setup ## ruff: style and formatting
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

types: setup ## mypy in strict mode
	@$(VENV)/bin/mypy

sim: setup ## rehearse the example pair in the simulator, 200 seeds
	@$(US) sim examples/pair.yaml --seeds 200 --seconds 600

bench: setup ## measure every figure of docs/benchmarks.md; resumable
	@$(PY) bench/run.py && $(PY) bench/report.py "$$(ls -d bench/results/* | tail -1)"

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
