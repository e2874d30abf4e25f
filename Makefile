# Every target sets up what it needs; the second time it starts at once.

PYTHON ?= python3
PIP_ARGS ?=
OMP_NUM_THREADS ?= 2

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo demo-semantic test test-all lint docs clean

help:
	@echo "make demo      train, evaluate and draw on the built-in data set: outputs/demo"
	@echo "make demo-semantic  the same with a class for every pixel: outputs/demo-semantic"
	@echo "make test      the tests"
	@echo "make test-all  the tests, with those that train for minutes"
	@echo "make lint      style, types and import rules"
	@echo "make docs      write docs/config.md from the options"
	@echo "make install   only set up $(VENV), without what development needs"
	@echo "make clean     remove build files and caches (not $(VENV), not results)"
	@echo 'variables: PYTHON (now $(PYTHON)), PIP_ARGS (for example --index-url ...)'

install: $(RUNTIME)

$(RUNTIME): setup.py pyproject.toml requirements.txt
	@PYTHON="$(PYTHON)" VENV="$(VENV)" PIP_ARGS="$(PIP_ARGS)" tools/setup.sh runtime
	@touch $@

$(DEVELOPMENT): $(RUNTIME)
	@PYTHON="$(PYTHON)" VENV="$(VENV)" PIP_ARGS="$(PIP_ARGS)" tools/setup.sh development
	@touch $@

demo: $(RUNTIME)
	$(BIN)/python demos/demo.py --output_dir outputs/demo

demo-semantic: $(RUNTIME)
	$(BIN)/python demos/demo.py --recipe semantic --output_dir outputs/demo-semantic

test: export OMP_NUM_THREADS := $(OMP_NUM_THREADS)
test: $(DEVELOPMENT)
	$(BIN)/python -m pytest

test-all: export OMP_NUM_THREADS := $(OMP_NUM_THREADS)
test-all: $(DEVELOPMENT)
	$(BIN)/python -m pytest -m "slow or not slow" --timeout 3600

lint: $(DEVELOPMENT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(RUNTIME)
	$(BIN)/python -c 'from fpt.core.describe import describe_options; from fpt.registry import names_by_option; print(describe_options(names_by_option()), end="")' > docs/config.md

clean:
	rm -rf build dist fpt.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find lib tests tools demos -name __pycache__ -type d -prune -exec rm -rf {} +
