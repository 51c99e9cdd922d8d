PYTHON ?= python3
VENV := .venv
# A new pip installs the packages in 40 s of processor time, that of Python 3.11 in 110 s.
CREATE := $(PYTHON) -m venv $(VENV) && $(VENV)/bin/pip install --quiet --disable-pip-version-check --upgrade pip
INSTALL := PYTHONWARNINGS="ignore:Editable installation" $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile
# pip compiles all modules, on one core.  Commands need a fraction of them; the others are compiled when first imported,
# unless PYTHONDONTWRITEBYTECODE is set, as in many containers.
unexport PYTHONDONTWRITEBYTECODE
COMPILE := @echo "compiling what commands import ..." && $(VENV)/bin/python -c "import datasets, lightrnn_pl.commands.compare, lightrnn_pl.commands.evaluate"
# For the tests of client.mjs, which an ONNX export contains.
JAVASCRIPT := npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(VENV)/javascript onnxruntime-web@1.30
# A process runs a file of tests.  tests/conftest.py puts the slowest files first.
PYTEST := $(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
ARGS ?=

.PHONY: help install run test test-all check docs clean

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(VENV)/.installed: pyproject.toml constraints.txt
	$(CREATE)
	$(INSTALL) -c constraints.txt -e .
	$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt requirements.txt
	$(CREATE)
	$(INSTALL) -r requirements.txt
	$(COMPILE)
	@if command -v npm > /dev/null; then $(JAVASCRIPT) || echo "without onnxruntime-web, the tests of client.mjs are skipped"; fi
	@touch $(VENV)/.installed $@

install: $(VENV)/.installed  ## Set up .venv

run: $(VENV)/.installed  ## Set up, train LightRNN and a full-softmax model of the same hidden size on the built-in corpus (ARGS="key=value ..." overrides)
	$(VENV)/bin/lightrnn-compare $(ARGS)

test: $(VENV)/.installed-dev  ## Set up, run the tests (ARGS="-k name" selects)
	$(PYTEST) $(ARGS)

test-all: $(VENV)/.installed-dev  ## The same, with all cases of the exhaustive tests
	$(PYTEST) -m "" $(ARGS)

check: $(VENV)/.installed-dev  ## Lint, types, import layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(VENV)/.installed-dev  ## Build the documentation site (docs/_build/html); warnings are errors
	$(VENV)/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

clean:  ## Remove the environment and caches (never outputs/)
	rm -rf $(VENV) build dist docs/_build *.egg-info .pytest_cache .ruff_cache .mypy_cache
