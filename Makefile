# The two promises: `make demo` and `make test` need Python 3.11 or newer and make, nothing else.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: help setup demo test soak spec lint generate check-generated clean

help: ## what can be asked for
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 18

setup: $(VENV)/.installed ## the virtual environment with pinned dependencies

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "bobrapet needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q src
	@touch $@

demo: setup ## runs the batch-etl Story on the embedded control plane
	@$(BIN)/python hack/demo

test: setup ## every test that fits in 20 minutes
	hack/test

soak: setup ## what takes longer: kill loops, more seeds, fuzzing
	HYPOTHESIS_PROFILE=soak hack/test -m soak --timeout 3600

spec: setup ## spec cases that have no passing test
	hack/spec

lint: setup ## ruff, mypy, the imports contract
	$(BIN)/ruff check src tests hack
	$(BIN)/ruff format --check src tests hack
	$(BIN)/mypy
	$(BIN)/lint-imports

generate: setup ## writes the generated files again
	$(BIN)/python hack/generate

check-generated: setup ## fails when a generated file is stale
	$(BIN)/python hack/generate --check

clean: ## removes what was built
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .cache
