PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: help run test check clean

help:  ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(STAMP): pyproject.toml requirements.txt constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

run: $(STAMP)  ## Set up, train LightRNN and a full-softmax model of the same hidden size on the built-in corpus (ARGS="key=value ..." overrides)
	$(VENV)/bin/lightrnn-compare $(ARGS)

test: $(STAMP)  ## Set up, run the tests (ARGS="-k name" selects)
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(STAMP)  ## Lint, types, import layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

clean:  ## Remove the environment and caches (never outputs/)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
