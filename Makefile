# `make` lists the targets. VENV, PYTHON, TORCH_INDEX can be set: make setup TORCH_INDEX=https://…
PYTHON ?= python3
VENV ?= .venv
RECIPE ?= llm-qfl-reviews
BIN = $(VENV)/bin
READY = $(VENV)/.ready
# torch for CPUs where PyTorch's own index can be reached (the package index has it with gigabytes of CUDA):
CPU_INDEX = https://download.pytorch.org/whl/cpu
TORCH_INDEX ?= $(shell [ $$(uname) = Linux ] && curl -fsI -m 5 $(CPU_INDEX)/torch/ >/dev/null 2>&1 && echo $(CPU_INDEX))
TORCH = $(shell grep '^torch==' deploy/constraints.txt)
export OMP_NUM_THREADS ?= 1
export FLWR_TELEMETRY_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: $(shell sed -nE 's/^([a-z-]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 17

setup: $(READY)  ## make .venv and install qflock into it

$(READY): pyproject.toml deploy/constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"qflock needs Python 3.11 to 3.13, this is {v[0]}.{v[1]}: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev]'
	touch $@

run: setup  ## run the default recipe (RECIPE=llm-qfl-reviews) and show its report
	$(BIN)/qflock run $(RECIPE)

demo test-docker bench-containers: export QFLOCK_TORCH_INDEX ?= $(TORCH_INDEX)
demo: setup  ## run RECIPE in containers: builds, starts, runs, fetches the folder, takes down (SET="rounds=2 clients=3")
	$(BIN)/qflock up $(RECIPE) $(SET:%=--set %)

test: setup  ## the tests that need nothing beyond this machine
	$(BIN)/python -m pytest -n auto --dist loadfile -m 'not (processes or hub or network or trackers or browser or docker or faults)' tests

test-processes: setup  ## a federation on real Flower processes, one of which is killed
	$(BIN)/python -m pytest -m processes tests

test-extras: setup  ## the tests that reach the package index or need optional extras (600 MB), which it installs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev,extras]'
	$(BIN)/python -m pytest -m 'hub or network or trackers' tests

test-pages: setup  ## the pages in Chromium at two widths, with axe-core, which it installs with npm
	npm install --silent --no-save --prefix $(VENV)/axe axe-core@4
	QFLOCK_AXE=$(VENV)/axe/node_modules/axe-core/axe.min.js $(BIN)/python -m pytest -m browser tests

test-docker: setup  ## the images, and a federation of three nodes in containers; needs a Docker engine
	@docker version >/dev/null || { echo 'test-docker needs a Docker engine, and none answers: start one' >&2; exit 1; }
	$(BIN)/python -m pytest -m docker tests

test-faults: setup  ## a federation of real processes in which every fault happens: lies, losses, a full disk, a wrong key
	$(BIN)/python -m pytest -m faults tests

lock: setup  ## write deploy/requirements.lock: every dependency but torch, with hashes
	$(BIN)/uv pip compile pyproject.toml --constraints deploy/constraints.txt --excludes deploy/cuda.txt --universal --python-version 3.11 \
	    --no-emit-package torch --generate-hashes --no-annotate --custom-compile-command 'make lock' --quiet --output-file deploy/requirements.lock

audit: setup  ## whether a pinned version has a known vulnerability; needs the internet
	$(BIN)/python -m deploy.audit

check: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup  ## time starting, fits, gradients, a round and a run, beside bare Flower and other simulators
	$(BIN)/python -m bench.startup
	$(BIN)/python -m bench.report
	$(BIN)/python -m bench.engine
	$(BIN)/python -m bench.gradients
	$(BIN)/python -m bench.noisy
	$(BIN)/python -m bench.executors
	$(BIN)/python -m bench.federation
	$(BIN)/python -m bench.processes

bench-poisoning: setup  ## accuracy of every aggregator among clients that lie, with intervals
	$(BIN)/python -m bench.poisoning

bench-teacher: setup  ## tokens a second of tuning the LLM, beside transformers' Trainer
	$(BIN)/python -m bench.teacher
	$(BIN)/python -m bench.tables

teachers: setup  ## tune one teacher on each whole corpus, three seeds, and write their accuracies into the README
	$(BIN)/python -m bench.teachers
	$(BIN)/python -m bench.tables

bench-qfed: setup  ## time a step of the generator beside TorchQuantum, measure 60 clients' memory and the plateau
	$(BIN)/python -m bench.qfed
	$(BIN)/python -m bench.qfed --clients 60
	$(BIN)/python -m bench.plateau
	$(BIN)/python -m bench.tables

qd-llm: setup  ## QD-LLM's tables, figure and speed: every method and study over five seeds (days)
	$(BIN)/python -m bench.qdllm
	$(BIN)/python -m bench.distillation
	$(BIN)/qflock sweep qd-llm-topic --seeds 5 --set clients=1 --set min_reports=1 --set optimiser.epochs=1 \
		--runs-dir runs/deployed-from-one-place
	$(BIN)/python -m bench.deployed runs/deployed-from-one-place/*
	$(BIN)/python -m bench.distill
	$(BIN)/python -m bench.tables

qfed: setup  ## run every recipe of QFed and one under noise, hours in all, and write the tables into bench/README.md
	$(BIN)/python -m bench.qfed_study --jobs 1
	$(BIN)/python -m bench.qfed_noise
	$(BIN)/python -m bench.tables

bench-containers: setup  ## time a federation in containers beside one on processes, both secured; needs a Docker engine
	$(BIN)/python -m bench.containers

bench-faults: setup  ## make every fault happen that a node can have, and write the table of what became of the run
	$(BIN)/python -m bench.faults
	$(BIN)/python -m bench.tables

bench-kills: setup  ## kill -9 each part of a run at ten moments, resume, compare; goes on where it was stopped
	$(BIN)/python -m bench.kills
	$(BIN)/python -m bench.tables

reviews: setup  ## run the default recipe over five seeds and write its table into the README
	$(BIN)/python -m bench.reviews
	$(BIN)/python -m bench.tables

ablation: setup  ## take LLM-QFL apart over five seeds and write the table into the README
	$(BIN)/python -m bench.ablation --recipe llm-qfl-reviews
	$(BIN)/python -m bench.ablation --recipe llm-qfl-genomic
	$(BIN)/python -m bench.tables

llm-qfl: setup  ## run every recipe and study of LLM-QFL, a few hours in all, and write their tables
	$(BIN)/python -m bench.llm_qfl
	$(BIN)/python -m bench.tables

sensitivity: setup  ## vary λ, μ and ε over three seeds and write the tables into the README
	$(BIN)/python -m bench.sensitivity
	$(BIN)/python -m bench.tables

tables: setup  ## write bench/results/*.json into the README's tables
	$(BIN)/python -m bench.tables

clean:  ## remove what setup and the tests made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
