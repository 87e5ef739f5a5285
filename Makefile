# `make demo` and `make test` need Python 3.11 or newer with pip, and make. Everything else comes
# from PyPI into .venv; nothing is installed outside this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A compiler from PyPI only where the machine has none for the board or for itself.
comma := ,
COMPILER := $(if $(and $(shell command -v arm-none-eabi-gcc),$(shell command -v cc)),,$(comma)compiler)

.PHONY: demo test lint clean

demo: $(VENV)/.demo
	$(BIN)/tinyodl demo

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) tinyodl-demo

# The outer pip fills the environment, so that Python's ensurepip, which some distributions leave
# out, is not needed.
$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tinyodl needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.demo: $(VENV)/pyvenv.cfg pyproject.toml
	$(PYTHON) -m pip --python $(BIN)/python install --quiet -e '.[virtual$(COMPILER)]'
	touch $@

$(VENV)/.test: $(VENV)/pyvenv.cfg pyproject.toml
	$(PYTHON) -m pip --python $(BIN)/python install --quiet -e '.[virtual,compiler,test]'
	touch $@ $(VENV)/.demo
