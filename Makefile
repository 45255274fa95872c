# Everything runs in .venv, made by the first target that needs it.
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install train test lint docs report benchmark clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "make %-10s %s\n", $$1, $$2}'

install: .venv/installed ## make .venv and install the package (about two minutes)

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@# What neurons, counters and speed are held against. Their own dependencies clash with ours (matplotlib, tonic).
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps \
		spikingjelly==2.0.0 snntorch==1.0.0 neurobench==2.3.0 syops==0.0.5
	@touch $@

train: install ## train the default: PSU on handwritten digits, seconds, nothing to download
	$(BIN)/python train.py

test: install ## run all tests, in a process for each core
	@$(BIN)/python -m snnrepro.neurons.kernels # once, not in each of those processes
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

lint: install ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: install ## write docs/neurons.md, data.md and experiments.md from the code
	$(BIN)/python scripts/document.py

report: install ## results/REPORT.md and report.html, docs/findings.md: verdicts, runs compared, what holds
	$(BIN)/python scripts/report.py
	$(BIN)/python scripts/findings.py

benchmark: install ## time every neuron against the step-by-step LIF on this machine
	$(BIN)/python scripts/benchmark.py neurons

clean: ## remove .venv and caches (runs and results stay)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
