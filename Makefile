# The only commands: install, run, lint, check, test, quick. Each sets up what it needs in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install install-dev run lint check test quick

install: $(VENV)/installed

install-dev: $(VENV)/installed-dev

run: install
	$(BIN)/streamlit run app.py

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

check: install-dev
	$(BIN)/mypy

# Three processes on two cores: the tests of pages and workers wait a third of their time.
test: install-dev
	$(BIN)/python -m pytest -n 3 --dist worksteal

# While writing: no browser, no process, no training.
quick: install-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not (slow or browser or process or training)"

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	touch $@
