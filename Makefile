# Every target makes what it needs: Python >= 3.11 and make are enough.
#
#   PYTHON=python3.12 make test     another interpreter
#   VENV=../env make test           another place for the environment
#   make test ARGS="-k units -x"    options for pytest (bench and demo take ARGS too)

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
ARGS   ?=

BIN := $(VENV)/bin
PIP  = PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq

# One file of a page of documentation shares its names, so a file must stay on one worker.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo demo-placement test lint format bench walls docs fuzz round-trips wheel-check clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## a first answer, its proof, and what would change it
	@$(BIN)/mlsysim-opt demo $(ARGS)

demo-placement: $(VENV)/.installed ## a week over 60 cloud regions: the plan, the front, what a carbon cap costs
	@$(BIN)/python benchmarks/placement_demo.py $(ARGS)

test: $(VENV)/.installed ## the tests, the examples of README.md and docs/ included
	@$(PYTEST) $(ARGS)

lint: $(VENV)/.installed-dev ## ruff, mypy --strict, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/.installed-dev ## let ruff put the code in its form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.installed ## the numbers README.md quotes, beside peers in environments of their own
	@set -e; beside=$$(mktemp -d); trap 'rm -rf "$$beside"' EXIT; \
	for package in mlsysim==0.3.0 pymoo==0.6.2; do \
	  $(PYTHON) -m venv "$$beside/$${package%%=*}"; \
	  PIP_DISABLE_PIP_VERSION_CHECK=1 "$$beside/$${package%%=*}/bin/python" -m pip install -qq "$$package"; \
	done; \
	PEER_PYTHON="$$beside/mlsysim/bin/python" PYMOO_PYTHON="$$beside/pymoo/bin/python" \
	  $(BIN)/python benchmarks/run.py $(ARGS)

walls: $(VENV)/.installed ## write docs/walls.md from the equations that run
	@$(BIN)/mlsysim-opt explain walls --markdown > docs/walls.md.new && mv docs/walls.md.new docs/walls.md

docs: $(VENV)/.installed-docs ## the documentation as HTML, in docs/_build
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

fuzz: $(VENV)/.installed ## the long campaigns, for a night
	@HYPOTHESIS_PROFILE=campaign $(PYTEST) -m slow tests $(ARGS)

round-trips: $(VENV)/.installed ## every number of every model, changed and solved for again, with the counts
	@$(BIN)/python -m pytest -q -m slow tests/physics/test_round_trips.py $(ARGS)

wheel-check: $(VENV)/.installed-dev ## build the wheel and use it from a clean environment elsewhere
	@$(BIN)/python tests/packaging/check_wheel.py

clean: ## remove what the targets above made
	rm -rf .venv build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- environments: made once, and again when pyproject.toml changes -------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": set PYTHON=python3.11")'
	@echo "making $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	@$(PIP) -e '.[test,dev]'
	@touch $@

$(VENV)/.installed-docs: pyproject.toml $(VENV)/.installed
	@$(PIP) -e '.[test,docs]'
	@touch $@
