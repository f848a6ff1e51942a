# Targets for developers and for .ci/run. Needs make, Python 3.11 to 3.13 and a package
# index.

VENV := .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN := $(VENV)/bin/python

# The stamp is written when a set-up is complete. It has a checksum of these files in its
# name: a change to them leads to a new set-up.
SOURCES := requirements.txt requirements-dev.txt pyproject.toml
STAMP := $(VENV)/.stamp-$(shell cat $(SOURCES) | cksum | cut -d' ' -f1)

# Twice quiet: errors are shown, warnings about an index's set-up are not.
PIP := $(RUN) -m pip install -qq --prefer-binary --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast test-oldest quickstart notebooks lint format docs audit clean

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(STAMP) ## Make .venv with everything in it, unless it is there already.
	@echo "$(VENV) is ready."

# Without any stamp the set-up was never finished: start over. With an older one update
# the environment; if that is interrupted, start over as well.
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

test: lint docs ## Everything: lint, documentation and every test; what .ci/run calls.
	@echo "Running the tests..."
	@$(RUN) -m pytest -q -n 2 --dist worksteal

test-fast: $(STAMP) ## The inner loop: the tests that are not marked slow.
	@$(RUN) -m pytest -q -n 2 --dist worksteal -m "not slow"

# Other versions need an environment of their own: .venv-oldest.
test-oldest: ## The fast tests with the oldest dependencies: requirements-oldest.txt.
	@$(PYTHON) -m venv --clear $(VENV)-oldest
	@$(VENV)-oldest/bin/python -m pip install -qq --prefer-binary \
	  --disable-pip-version-check -r requirements-oldest.txt
	@$(VENV)-oldest/bin/python -m pip install -qq --no-deps -e .
	@$(VENV)-oldest/bin/python -m pytest -q -m "not slow"

lint: $(STAMP) ## Check format, lint and types.
	@echo "Checking format, lint and types..."
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy

docs: $(STAMP) ## Build the documentation in site/; a broken link fails.
	@echo "Building the documentation..."
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet

format: $(STAMP) ## Format, and repair what the linter can.
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix .

# In an environment of its own, so that what is looked up is ours alone.
AUDIT := $(VENV)-audit
audit: $(STAMP) ## Look up known vulnerabilities of what is installed, at PyPI.
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv --clear $(AUDIT) && \
	  $(AUDIT)/bin/python -m pip install -qq --disable-pip-version-check \
	  "pip-audit>=2.10,<3" 2>/dev/null; } || \
	  { echo "Nothing was audited: pip-audit can't be installed." >&2; exit 1; }
	@$(RUN) -m pip freeze --exclude-editable --disable-pip-version-check \
	  > $(AUDIT)/installed.txt
	@$(AUDIT)/bin/pip-audit --progress-spinner off --disable-pip --no-deps --strict \
	  --requirement $(AUDIT)/installed.txt > $(AUDIT)/report.txt 2>&1; status=$$?; \
	if grep -q "could not be audited\|requests.exceptions" $(AUDIT)/report.txt; then \
	  echo "Nothing was audited: no vulnerability service answers for all packages;" \
	    "see $(AUDIT)/report.txt." >&2; \
	else grep -v "^WARNING" $(AUDIT)/report.txt; fi; exit $$status

quickstart: $(STAMP) ## Train for a minute, then evaluate: see flags/quickstart.flags.
	$(RUN) main.py --mode=pretrain --flagfile=flags/quickstart.flags --workdir=runs/quickstart
	$(RUN) main.py --mode=evaluate --workdir=runs/quickstart

notebooks: $(STAMP) ## Run the notebooks and keep their output.
	$(RUN) -m notebooks.execute

clean: ## Remove caches and build leftovers; .venv and runs stay.
	@rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
