# make demo    train five networks on synthetic shapes and compare them (about six minutes)
# make test    lint, then all tests
#
# Both make a virtual environment first. PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := fcn32s fcn16s fcn8s deeplab_largefov deeplab_atrous45
RUNS ?= runs/demo

.PHONY: demo test lint format clean

$(VENV)/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	touch $@

demo: $(VENV)/installed
	for name in $(DEMO); do \
		$(BIN)/python launch.py train --config=shapes_$$name --workdir=$(RUNS)/shapes_$$name || exit; \
	done
	$(BIN)/python launch.py compare $(DEMO:%=$(RUNS)/shapes_%) --output=$(RUNS)/report

test: lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(RUNS) build *.egg-info
