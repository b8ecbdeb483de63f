# `make` lists the targets. VENV, PYTHON, TORCH_INDEX can be set: make setup TORCH_INDEX=https://…
PYTHON ?= python3
VENV ?= .venv
RECIPE ?= reviews
BIN = $(VENV)/bin
READY = $(VENV)/.ready
TORCH_INDEX ?=
export OMP_NUM_THREADS ?= 1
export FLWR_TELEMETRY_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup run test test-extras check bench reviews tables clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

setup: $(READY)  ## make .venv and install qflock into it

$(READY): pyproject.toml deploy/constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "qflock needs Python 3.11 or newer; set PYTHON=…"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(shell grep '^torch==' deploy/constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev]'
	touch $@

run: setup  ## run the default recipe (RECIPE=reviews) and show its report
	$(BIN)/qflock run $(RECIPE)

test: setup  ## the tests that need nothing beyond this machine
	$(BIN)/python -m pytest -m 'not hub and not network' tests

test-extras: setup  ## the tests that reach the package index or need the extra `hub` (279 MB), which it installs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev,hub]'
	$(BIN)/python -m pytest -m 'hub or network' tests

check: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## time the federation beside a bare Flower app
	$(BIN)/python -m bench.federation

reviews: setup  ## run the recipe `reviews` over five seeds and write its table into the README
	$(BIN)/python -m bench.reviews
	$(BIN)/python -m bench.tables

tables: setup  ## write bench/results/*.json into the README's tables
	$(BIN)/python -m bench.tables

clean:  ## remove what setup and the tests made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
