# The torch to use. It is installed first, so that nothing that depends on it pulls another build
# (a CUDA one on a machine without a GPU). May hold options: TORCH='torch --index-url https://…'
TORCH ?= torch==2.13.0
# A Python of 3.11 or later; found by itself where this is empty
PYTHON ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input install --quiet
# one stamp per torch, so that another TORCH installs again
STAMP := $(VENV)/.installed-$(shell printf '%s' '$(TORCH)' | cksum | cut -d ' ' -f 1)

# one thread per process: fastest on shared machines, and the same numbers everywhere
export OMP_NUM_THREADS ?= 1

.PHONY: help env test test-slow test-engines lint types demo demo-tune clean
.DEFAULT_GOAL := help

help:
	@echo "make demo          ethanol by molecular dynamics, learnt from DFT on the fly (15 minutes)"
	@echo "make demo-tune     fine-tune to labels there are, errors before and after"
	@echo "make test          run the tests (make test-slow: the long ones,"
	@echo "                   make test-engines: those of external programs)"
	@echo "make env           only set up the environment in $(VENV)"
	@echo "make lint types    style and type checks"

env: $(STAMP)

$(STAMP): pyproject.toml
	@set -e; \
	for python in $(if $(PYTHON),'$(PYTHON)',python3 python3.11 python3.12 python3.13 python); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then found="$$python"; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	    echo "error: no Python of 3.11 or later found; install one and run" \
	        "'make env PYTHON=/path/to/python3.11'." >&2; exit 1; \
	fi; \
	echo "setting up $(VENV) with $$("$$found" --version) and $(TORCH): takes minutes, once"; \
	if ! "$$found" -m venv $(VENV); then \
	    echo "error: $$found cannot make a virtual environment; install its venv module" \
	        "(Debian: apt install python3-venv)." >&2; exit 1; \
	fi
	@$(PIP) $(TORCH)
	@$(PIP) -e '.[dev]'
	@# the tests' second opinion on selection; of its many dependencies they need only dill
	@$(PIP) --no-deps bmdal_reg==3.0.2
	@touch $(STAMP)

test: env
	@$(PY) -m pytest

test-slow: env
	@$(PY) -m pytest -m slow

test-engines: env
	@$(PY) -m pytest -m engine

lint: env
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: env
	@$(PY) -m mypy

demo: env
	@$(VENV)/bin/tunesmith run recipes/ethanol.yaml

demo-tune: env
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash examples/demo.sh

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
