# Every target makes .venv and installs what it needs; `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
TIMINGS ?= runs/benchmarks
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install run test slow check bench format tables site clean

help:     ## this list
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

install: $(READY)  ## make .venv and install the package with its test tools

run: $(READY)      ## distil the digits teacher with SiD and progressive distillation, print the leaderboard
	$(BIN)/bench run --suite digits --method sid --method progressive --budget quick

test: $(READY)     ## the fast tests
	$(BIN)/python -m pytest

slow: $(READY)     ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(READY)    ## lint, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_import_direction.py

bench: $(READY)    ## timings and their ratios into runs/benchmarks.json and .md (TIMINGS=docs/benchmarks: the page)
	mkdir -p $(dir $(TIMINGS))
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/benchmarks --benchmark-only -m "" --benchmark-json=$(TIMINGS).json
	$(BIN)/python tests/benchmarks/benchmark_page.py $(TIMINGS).json

format: $(READY)   ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

tables: $(READY)   ## make the committed tables and pictures again from the committed records
	$(BIN)/bench leaderboard gmm2d --write
	$(BIN)/bench leaderboard digits --write
	$(BIN)/bench leaderboard shapes --write
	$(BIN)/bench claims --out leaderboards/CLAIMS.md
	$(BIN)/bench leaderboard --format html --out leaderboards/index.html

site: $(READY)     ## build the documentation and the leaderboards' page into site/, without network
	$(BIN)/bench leaderboard --format html --out leaderboards/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	@echo open site/index.html

clean:    ## remove .venv and caches (runs/ stays)
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
