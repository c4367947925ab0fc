# Two commands for a new user: `make demo` and `make test`. Everything goes into an environment of its own, .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
JOBS ?= 2

.PHONY: demo test check cover bench nightly clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   install and run the main job: hedgerow simulate (offline, under three minutes)"
	@echo "make test   install and run every test"
	@echo "make check  lint, types, layers, formatting of the command's help"
	@echo "make cover  tests with branch coverage"
	@echo "make bench  every benchmark, ratios only (docs/performance.md)"
	@echo "make nightly  long runs: a siege, every attack again and again, the references (docs/nightly.md; hours)"

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "hedgerow needs Python 3.11 or newer: set PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/demo: $(VENV)/python pyproject.toml constraints.txt
	@echo "Installing hedgerow into $(VENV) (once) ..."
	@$(PIP) --editable '.[fast]'
	@touch $@

$(VENV)/dev: $(VENV)/python pyproject.toml constraints.txt
	@echo "Installing hedgerow and its test tools into $(VENV) (once) ..."
	@$(PIP) --editable '.[fast,uvloop,ray,dev]'
	@touch $@

demo: $(VENV)/demo
	@$(BIN)/hedgerow simulate

test: $(VENV)/dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

cover: $(VENV)/dev
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --include='identity/*,gossip/*,aggregation/*,node/core.py' --fail-under=95

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks

nightly: $(VENV)/dev
	$(BIN)/python -m benchmarks.nightly

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
