# Every target sets up what it needs; the second time it starts at once.
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"    without a GPU: much smaller downloads

PYTHON ?= python3
PIP_ARGS ?=
OMP_NUM_THREADS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint docs clean

help:
	@echo "make demo      train, evaluate and draw on the built-in data set: outputs/demo"
	@echo "make test      the tests"
	@echo "make test-all  the tests, with those that train for minutes"
	@echo "make lint      style, types and import rules"
	@echo "make docs      write docs/config.md from the options"
	@echo "make install   only set up $(VENV)"
	@echo "make clean     remove build files and caches (not $(VENV), not results)"
	@echo 'variables: PYTHON (now $(PYTHON)), PIP_ARGS (for example --extra-index-url ...)'

install: $(STAMP)

$(STAMP): setup.py pyproject.toml requirements.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there; name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "Python 3.10 or newer is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1); name one: make PYTHON=python3.12"; \
		exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { \
		echo "No virtual environment could be made. On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	$(BIN)/pip install $(PIP_ARGS) -e '.[dev]'
	@$(BIN)/pip install $(PIP_ARGS) -e '.[fasteval]' || \
		echo "hotcoco could not be installed: evaluation uses pycocotools instead (the same numbers, slower)"
	@touch $@

demo: $(STAMP)
	$(BIN)/python demos/demo.py --output_dir outputs/demo

test: export OMP_NUM_THREADS := $(OMP_NUM_THREADS)
test: $(STAMP)
	$(BIN)/python -m pytest

test-all: export OMP_NUM_THREADS := $(OMP_NUM_THREADS)
test-all: $(STAMP)
	$(BIN)/python -m pytest -m "slow or not slow" --timeout 3600

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP)
	$(BIN)/python -c 'from fpt.core.describe import describe_options; from fpt.registry import names_by_option; print(describe_options(names_by_option()), end="")' > docs/config.md

clean:
	rm -rf build dist fpt.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find lib tests tools demos -name __pycache__ -type d -prune -exec rm -rf {} +
