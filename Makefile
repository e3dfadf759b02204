# Two commands: `make demo` and `make test`. Each does its own set-up, once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= demo

.PHONY: setup demo test test-slow coverage lint docs dist clean

setup: $(VENV)/.dev  ## the package and what development needs

$(VENV)/.base: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(VENV)/.base  ## train on embedded data, measure, predict: no download but the packages
	$(BIN)/moganet train digits --out $(OUT) --overwrite
	$(BIN)/moganet evaluate $(OUT)
	$(BIN)/moganet predict $(OUT) --data digits --limit 40 --grid $(OUT)/predictions.png --csv $(OUT)/predictions.csv --top-k 1 >/dev/null
	@echo
	@echo "Results in $(OUT)/:"
	@echo "  best.safetensors           the trained model, one file"
	@echo "  report.html                how good it is, and where it fails: open it in a browser"
	@echo "  curves.png                 loss and accuracy, training and validation"
	@echo "  evaluation-test/           accuracy by class, calibration, confusion matrix"
	@echo "  predictions.png, .csv      forty digits of the test set with their predictions"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One process a core with one thread each: small networks gain more from that than from threads. The tests, as pytest
# rewrites them, are kept in __pycache__ whatever the environment says: to rewrite them takes five seconds a process.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

test: lint  ## ruff, mypy --strict, import-linter, pytest
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.dev  ## the long sweeps: kills, damaged files of every format
	$(PYTEST) -m slow

# Counting lines takes 40 % longer, so `make test` does not.
coverage: $(VENV)/.dev  ## the lines of the package that the tests run
	$(PYTEST) -m "not slow" --cov=moganet --cov=moganet_cli

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

# A warning is an error: a link to a page that is gone, a docstring that cannot be read. The tutorials are run, but for those
# that were run by the same code before; NOTEBOOKS=off shows them without outputs.
NOTEBOOKS ?= on
docs: $(VENV)/.docs  ## the site, into build/docs/html: open index.html; it needs no network
	NOTEBOOKS=$(NOTEBOOKS) $(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs/html
	@echo "build/docs/html/index.html"

$(VENV)/.dist: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check build twine
	@touch $@

dist: $(VENV)/.dist  ## the source archive, and from it the wheel, into dist/
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
