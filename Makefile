# make setup, demo and test; each is quick the second time.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
FEWMASK_DATA ?= $(wildcard ../shared/data)
export FEWMASK_DATA
DEMO_OUT ?= fewmask-demo

.PHONY: setup demo test

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $(STAMP)

demo: setup
	$(VENV)/bin/fewmask demo --out $(DEMO_OUT)

# One torch thread a worker: two threads on a busy machine of two cores can be twenty times slower than one.
test: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2
