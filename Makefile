# Two commands for people: `make demo` and `make test`. Each does all of its own set-up in .venv.
PYTHON ?= python3
BIN := .venv/bin
# torch is pinned in every install command, first: unpinned, gigabytes of CUDA packages may come along.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0

.PHONY: demo test check format wheel clean

demo: .venv/installed  ## train quantum attention on real sentences with three optimizers, and write a page
	rm -rf runs/demo
	$(BIN)/python -m experiments.text_classification --data auto --attention quantum \
		--optimizers adam,adam-uncorrected,spgd-literal-0.5 \
		--seeds 3 --epochs 4 --train-size 5500 --output runs/demo

test: .venv/installed  ## all tests but the slow ones
	$(BIN)/python -m pytest -n auto -m "not slow and not gpu and not qpu"

test-slow: .venv/installed  ## the slow tests
	$(BIN)/python -m pytest -n auto -m "slow and not gpu and not qpu"

check: .venv/installed  ## format, lint, types and the order of the rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

wheel: .venv/installed  ## build the wheel through the sdist, with and without a compiler, and try each away from the checkout
	rm -rf dist build
	$(BIN)/python -m build --quiet
	$(BIN)/python tests/try_wheel.py dist with-kernels
	rm -rf build
	CC=false CXX=false $(BIN)/python -m build --quiet --outdir dist/no-compiler
	$(BIN)/python tests/try_wheel.py dist/no-compiler without-kernels

.venv/installed: pyproject.toml constraints.txt setup.py $(wildcard hybridq/native/*.cpp hybridq/native/*.h)
	$(PYTHON) -c "import sys; assert sys.version_info >= (3, 11), 'hybridq needs Python 3.11 or newer: make PYTHON=python3.12'"
	$(PYTHON) -m venv .venv
	$(INSTALL)
	$(INSTALL) --constraint constraints.txt --editable '.[ibm,experiments,dev]'
	touch $@

clean:
	rm -rf .venv build dist runs hybridq/native/*.so *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
