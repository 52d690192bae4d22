# Two commands do all the set-up: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
LAPTOP := .venv-laptop
BIN := $(VENV)/bin
WORKERS ?= 3

.PHONY: demo test leaks check format system clean

demo: $(VENV)/ready
	$(BIN)/segaway demo

test: system $(VENV)/ready $(LAPTOP)/ready
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --durations 25

# What is left billing when anything goes wrong at any call of a run.
leaks: $(VENV)/ready
	$(BIN)/python -m tests.bench.leaks --workers $(WORKERS)

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.docs --check

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m tests.docs --write

# What the tests need beyond Python packages; without it they skip, and say why.
system:
	@sh tests/system.sh

$(VENV)/ready: pyproject.toml
	PYTHON="$(PYTHON)" sh tests/venv.sh $(VENV) -e '.[train,dev]'
	touch $@

# The laptop's own install, without torch: the tests run the commands in it.
$(LAPTOP)/ready: pyproject.toml
	PYTHON="$(PYTHON)" sh tests/venv.sh $(LAPTOP) -e .
	touch $@

clean:
	rm -rf $(VENV) $(LAPTOP) build *.egg-info
