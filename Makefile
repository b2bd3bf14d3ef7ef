# The torch to use. It is installed first, so that nothing that depends on it pulls another build
# (a CUDA one on a machine without a GPU). May hold options: TORCH='torch --index-url https://…'
TORCH ?= torch==2.13.0
# A Python of 3.11 or later; found by itself where this is empty
PYTHON ?=

# MACE and SevenNet pin different versions of e3nn, so they live in environments of their own
VENV := .venv
VENV7 := .venv-7net
PY := $(VENV)/bin/python
PY7 := $(VENV7)/bin/python
# a stamp per torch, so that another TORCH installs again
TORCH_ID := $(shell printf '%s' '$(TORCH)' | cksum | cut -d ' ' -f 1)
STAMP := $(VENV)/.installed-$(TORCH_ID)
STAMP7 := $(VENV7)/.installed-$(TORCH_ID)

# one thread per process: fastest on shared machines, and the same numbers everywhere
export OMP_NUM_THREADS ?= 1

.PHONY: help env env-7net test test-mace test-7net test-slow test-engines lint types
.PHONY: demo demo-tune demo-7net clean
.DEFAULT_GOAL := help

help:
	@echo "make demo          ethanol by molecular dynamics, learnt from DFT on the fly (6 minutes)"
	@echo "make demo-tune     fine-tune to labels there are, errors before and after"
	@echo "make demo-7net     the same from SevenNet-0, a public model, in $(VENV7)"
	@echo "make test          run the tests in both environments (test-mace, test-7net: in one;"
	@echo "                   test-slow: the long ones, test-engines: those of external programs)"
	@echo "make env           only set up the environment of MACE in $(VENV)"
	@echo "make env-7net      only set up that of SevenNet and CHGNet in $(VENV7)"
	@echo "make lint types    style and type checks"

env: $(STAMP)
env-7net: $(STAMP7)

# $(call environment,folder,extra): torch first, then the project with an extra
define environment
	@set -e; \
	for python in $(if $(PYTHON),'$(PYTHON)',python3 python3.11 python3.12 python3.13 python); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	    then found="$$python"; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	    echo "error: no Python of 3.11 or later found; install one and run" \
	        "'make env PYTHON=/path/to/python3.11'." >&2; exit 1; \
	fi; \
	echo "setting up $(1) with $$("$$found" --version) and $(TORCH): takes minutes, once"; \
	if ! "$$found" -m venv $(1); then \
	    echo "error: $$found cannot make a virtual environment; install its venv module" \
	        "(Debian: apt install python3-venv)." >&2; exit 1; \
	fi
	@$(1)/bin/python $(INSTALL) $(TORCH)
	@$(1)/bin/python $(INSTALL) -e '.[$(2)]'
endef
INSTALL := -m pip --disable-pip-version-check --no-input install --quiet

$(STAMP): pyproject.toml
	$(call environment,$(VENV),dev)
	@# the tests' second opinion on selection; of its many dependencies they need only dill
	@$(PY) $(INSTALL) --no-deps bmdal_reg==3.0.2
	@touch $@

$(STAMP7): pyproject.toml
	$(call environment,$(VENV7),dev-7net)
	@touch $@

# both, whatever the first says; the results of both are the last lines
test: env env-7net
	@bash tests/both.sh $(PY) $(PY7)

test-mace: env
	@$(PY) -m pytest

test-7net: env-7net
	@$(PY7) -m pytest

test-slow: env env-7net
	@bash tests/both.sh $(PY) $(PY7) -m slow

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

demo-7net: env-7net
	@PATH="$(CURDIR)/$(VENV7)/bin:$$PATH" bash examples/demo-7net.sh

clean:
	rm -rf $(VENV) $(VENV7) .mypy_cache .pytest_cache .ruff_cache
