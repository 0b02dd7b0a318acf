# Everything that a clone needs, with nothing but Python 3.11 or newer and make. `make` alone lists the targets.

VENV = .venv
PEERS = .venv-peers
ZOO = .venv-zoo
LOOPS = .venv-loops
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt
CANDIDATES = $(PYTHON) python3 python3.13 python3.12 python3.11 python
SUITABLE = import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
ARGS =

# The tests run in two processes, with one thread of arithmetic in each.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Tests start hundreds of processes that import the package, so its bytecode is always kept.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL = help
.NOTPARALLEL:
.PHONY: help demo test lint types docs faults fuzz combinations ranks bench cifar100 test-cifar100 test-zoo test-loops format clean

help:  ## this list
	@echo "understudy: train a small network to stand in for a large one. Targets:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/core.stamp  ## distillation before your eyes: about 3 minutes, no network once it is set up (ARGS="--seeds 3")
	@$(BIN)/understudy demo $(ARGS)

test: lint types  ## lint, types, then every test (ARGS="-k taps")
	@echo "==> tests"
	@$(PYTEST) $(ARGS)

lint: $(VENV)/dev.stamp  ## style and format
	@echo "==> style and format"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp  ## types, strictly
	@echo "==> types"
	@$(BIN)/mypy

docs: $(VENV)/docs.stamp  ## the documentation, into site/
	@echo "==> documentation"
	@$(BIN)/zensical build --clean --strict
	@echo "site/index.html"

faults: $(VENV)/dev.stamp  ## 1,000 errors, full disks and kills at single operations, into results/faults.md (half an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore scripts/faults.py $(ARGS)
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore scripts/damage.py

ranks: $(VENV)/dev.stamp  ## several processes, 60 kills of ranks under torchrun, into results/ranks.md (half an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.ranks.kills
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.ranks.machines
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.ranks.four
	@OMP_NUM_THREADS=1 $(BIN)/python -m torch.distributed.run --nproc-per-node=2 -m tests.ranks.sharded_methods
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/ranks/killed_worker.py

bench: $(PEERS)/peers.stamp  ## speed against the floors and other libraries, into results/speed.md (over an hour)
	@$(PEERS)/bin/python -W ignore -m benchmarks $(ARGS)

cifar100: $(VENV)/core.stamp  ## the 14 pairs of the CIFAR-100 benchmark, all methods (a GPU; ARGS="--short" is a night on two cores)
	@$(BIN)/python scripts/cifar100.py run $(ARGS)

test-cifar100: $(VENV)/dev.stamp  ## the pre-flight check of all methods of these pairs, on random images (some twenty minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python scripts/cifar100.py check $(ARGS)

fuzz: $(VENV)/dev.stamp  ## 10,000 mutated recipes, options, files and command lines: no traceback (ARGS="--seed 2")
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(ARGS)

combinations: $(VENV)/dev.stamp  ## 1,000 random combinations of task, method and settings, stopped and gone on with (an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.combinations $(ARGS)

test-zoo: $(ZOO)/zoo.stamp  ## a hundred networks of timm, torchvision and transformers distil, into results/zoo.md (hours; it can be stopped and goes on)
	@$(ZOO)/bin/python -W ignore scripts/zoo.py $(ARGS)

test-loops: $(LOOPS)/loops.stamp  ## Lightning, transformers' Trainer, Accelerate, torch.compile and the trackers (some minutes)
	@OMP_NUM_THREADS=1 $(LOOPS)/bin/python -m pytest tests/loops $(ARGS)

format: $(VENV)/dev.stamp  ## put the code into its format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

clean:  ## remove the environment and whatever was built; runs/ stays
	rm -rf $(VENV) $(PEERS) $(ZOO) $(LOOPS) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A stamp says what is installed; a change of the pins or of the dependencies renews it.

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	    if "$$python" -c '$(SUITABLE)' 2>/dev/null; then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "understudy needs Python 3.11 or newer with venv; found: $$(python3 --version 2>&1)." >&2; \
	    echo "Install one (Debian, Ubuntu: apt install python3-venv), or name it: make PYTHON=/path/to/python3.12" >&2; \
	    exit 2; \
	fi; \
	echo "==> a virtual environment in $(VENV), by $$found ($$("$$found" --version))"; \
	rm -rf $(VENV); "$$found" -m venv $(VENV)

$(VENV)/core.stamp: constraints.txt pyproject.toml | $(BIN)/python
	@echo "==> PyTorch ($$(grep '^torch==' constraints.txt)), a large download the first time"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@echo "==> understudy and what it needs"
	@$(PIP) -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	@echo "==> the tools of its development"
	@$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/docs.stamp: $(VENV)/core.stamp
	@echo "==> the tools of its documentation"
	@$(PIP) -e '.[docs]'
	@touch $@

$(ZOO)/zoo.stamp: pyproject.toml | $(BIN)/python
	@echo "==> timm, torchvision and transformers, in $(ZOO): a download of some 5 GB the first time"
	@test -x $(ZOO)/bin/python || $(BIN)/python -m venv $(ZOO)
	@$(ZOO)/bin/python -m pip --disable-pip-version-check --quiet install timm torchvision transformers -e .
	@touch $@

$(LOOPS)/loops.stamp: pyproject.toml | $(BIN)/python
	@echo "==> the libraries with loops and trackers, in $(LOOPS): a download of some 5 GB the first time"
	@test -x $(LOOPS)/bin/python || $(BIN)/python -m venv $(LOOPS)
	@$(LOOPS)/bin/python -m pip --disable-pip-version-check --quiet install -e '.[loops]'
	@touch $@

$(PEERS)/peers.stamp: benchmarks/peers.txt pyproject.toml | $(BIN)/python
	@echo "==> the libraries that are compared, in $(PEERS): a download of some 5 GB the first time"
	@test -x $(PEERS)/bin/python || $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check --quiet install -r benchmarks/peers.txt -e .
	@touch $@
