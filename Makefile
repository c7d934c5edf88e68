# From a fresh machine: `make quickstart` runs the main job on embedded data, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin
CSRC := $(wildcard csrc/*.cpp csrc/*.h csrc/cpu/* csrc/cuda/*)
SOURCES := $(CSRC) setup.py pyproject.toml constraints.txt
CXX_FILES := $(CSRC) $(wildcard tests/cuda_on_host/*.cpp tests/cuda_on_host/*.h)

.PHONY: help environment build quickstart test test-slow test-lowest lint format clean

help:
	@echo "make quickstart   environment, build, embedded data; train V-39 Mask R-CNN, resume, test, report"
	@echo "make test         environment, build, the test suite but for the tests marked slow"
	@echo "make test-slow    the tests marked slow"
	@echo "make test-lowest  the test suite with the lowest versions of the dependencies, part of a release"
	@echo "make lint         ruff, mypy, clang-format"
	@echo "make format       ruff and clang-format, in place"
	@echo "make clean        remove the environment and everything built"

environment: $(VENV)/.installed

build: $(VENV)/.built

# The extension is built against the torch that is installed here, hence no build isolation.
$(VENV)/.installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch torchvision numpy setuptools wheel ninja
	touch $@

$(VENV)/.built: $(VENV)/.installed $(SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable ".[dev]"
	touch $@

quickstart: build
	$(BIN)/python tools/quickstart.py

test: build
	$(BIN)/python -m pytest -q --durations=25

test-slow: build
	$(BIN)/python -m pytest -q -m slow

# In an environment of its own, with the library that `build` compiled. PyTorch's versions are the pinned ones.
test-lowest: build
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade pip
	$(LOWEST)/bin/python -m pip install --quiet --constraint constraints.txt torch torchvision setuptools wheel ninja
	MASKRCNN_BENCHMARK_BUILD=none $(LOWEST)/bin/python -m pip install --quiet --no-build-isolation \
		--constraint constraints.txt --constraint constraints-lowest.txt --editable ".[test]"
	$(LOWEST)/bin/python -m pytest -q

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

format: build
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

clean:
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info maskrcnn_benchmark/*.so .pytest_cache .mypy_cache .ruff_cache
