# make demo   sets up, runs the study quickstart, ends with the path of a page
# make test   sets up, runs every quick check            make nightly   the slow tests as well
# make lint   style, types, layers                       make bench     ratios against the peers
#
# On a machine with a GPU install torch's CUDA build first (README, "On a GPU").
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test nightly lint bench clean

demo: $(READY)
	@$(BIN)/python scripts/demo.py

test: lint
	@$(BIN)/python -m pytest -q -n 2

nightly: lint
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[ray]"
	@$(BIN)/python -m pytest -q -n 2 -m "slow or not slow"

lint: $(READY)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo > .venv/lint-imports.txt || { cat .venv/lint-imports.txt; exit 1; }

bench: $(READY)
	@for script in scripts/bench/*.py; do $(BIN)/python $$script --quick || exit 1; done

# Made again only when what is to be installed has changed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "leadline needs Python 3.11 or newer: $$($(PYTHON) --version) found; name another with make PYTHON=python3.12"; exit 2; }
	@echo "Setting up .venv (once; a few minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable ".[dev]"
	@touch $@

clean:
	rm -rf .venv demo dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
