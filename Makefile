# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
US := $(VENV)/bin/understudy
DEMO_RUNS ?= 5
BENCH := bench/results/$(shell date +%F)

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint types sim fuzz clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: ## packages from Debian and the virtual environment (others call it)
	@scripts/setup

demo: setup ## bring the example pair up, kill its active gateway, report what users felt
	@scripts/demo $(DEMO_RUNS)

test: setup ## all tests, files of tests side by side on two CPUs
	@$(PY) -m pytest -n 2 --dist loadfile

lint: setup ## ruff: style and formatting
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

types: setup ## mypy in strict mode
	@$(VENV)/bin/mypy

sim: setup ## rehearse the example pair in the simulator, 200 seeds
	@$(US) sim examples/pair.yaml --seeds 200 --seconds 600

bench: setup ## measure every figure of docs/benchmarks.md; interrupted, it goes on where it was (BENCH=DIR)
	@scripts/peers
	@$(PY) bench/run.py --into $(BENCH); ran=$$?; \
	  $(PY) bench/compare.py $(BENCH); compared=$$?; \
	  $(PY) bench/report.py $(BENCH) && exit $$((ran ? ran : compared))

fuzz: setup ## fuzz everything that reads bytes of others, FUZZ_SECONDS=60 in all
	@$(PY) -c 'import atheris' 2>/dev/null || $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.lock
	@$(PY) fuzz/search.py

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
