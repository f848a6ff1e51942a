# Targets for people and for .ci/run. Needs make, Python 3.11 or later and a package index.

VENV := .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := $(VENV)/bin/python

# The stamp is written when a set-up is complete, and bears a checksum of what it was
# made from: any change to these files leads to a new set-up.
SOURCES := requirements.txt requirements-dev.txt pyproject.toml
STAMP := $(VENV)/.stamp-$(shell cat $(SOURCES) | cksum | cut -d' ' -f1)

# Twice quiet: errors are shown, warnings about an index's set-up are not.
PIP := $(RUN) -m pip install -qq --prefer-binary --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup test quickstart notebooks lint format clean

help: ## List the targets.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(STAMP) ## Make .venv with everything in it, unless it is there already.
	@echo "$(VENV) is ready."

# Without any stamp, the set-up was never finished: start over. With an older one,
# bring the environment up to date; should that be cut off, start over as well.
$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Expected Python 3.11 or later. Received: $(PYTHON). Set PYTHON=..." >&2; \
	    exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON) (2 to 5 minutes)..."
	@ls $(VENV)/.stamp-* >/dev/null 2>&1 && $(RUN) -c '' 2>/dev/null || \
	  $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(VENV)/.stamp-*
	@$(PIP) -r requirements-dev.txt
	@$(PIP) --no-deps -e .
	@touch $@

test: lint ## Check the format, lint, and run every test: what .ci/run calls.
	@echo "Running the tests..."
	@$(RUN) -m pytest -q -n 2 --dist worksteal

lint: $(STAMP) ## Check the format and lint.
	@echo "Checking format and lint..."
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .

format: $(STAMP) ## Format, and repair what the linter can.
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix .

quickstart: $(STAMP) ## Train for a few minutes, then judge the encoder: see flags/quickstart.flags.
	$(RUN) main.py --mode=pretrain --flagfile=flags/quickstart.flags --workdir=runs/quickstart
	$(RUN) main.py --mode=linear_eval --workdir=runs/quickstart

notebooks: $(STAMP) ## Run the notebooks, and keep what they show.
	$(RUN) -m notebooks.execute

clean: ## Remove caches and build leftovers; .venv and runs stay.
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
