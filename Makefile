PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env check test demo docs clean format

help:  ## Show what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

env: $(STAMP)  ## Make .venv with the package and all that develops it

# torch first and by exact version, so that no later step picks another build of it
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs]'
	$(BIN)/python -m pip install --quiet --no-deps stockpyl==1.0.2  # an oracle of the tests, without what it plots with
	touch $(STAMP)

check: $(STAMP)  ## Format, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(STAMP)  ## All tests and doctests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

demo: $(STAMP)  ## The main job on data that ships, into demandcast-demo/
	$(BIN)/demandcast demo --out demandcast-demo

docs: $(STAMP)  ## Build the documentation into build/docs; a warning is an error
	$(BIN)/sphinx-build -q -W --keep-going -b html -c docs . build/docs

format: $(STAMP)  ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove all that was made
	rm -rf $(VENV) demandcast-demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
