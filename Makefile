# `make help` lists the targets. Everything runs from .venv, which `install` makes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Not asked for: pip's own news and bytecode of packages that are never imported.
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast verify format bench bench-large chaos generate lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/installed ## make .venv with the `guildnet` command in .venv/bin

$(VENV)/installed: requirements.lock pyproject.toml
	@echo "installing Python packages into $(VENV) (about 1 min) ..."
	@$(PYTHON) -c 'import sys; sys.exit("GuildNet needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

demo: install ## the whole way on two real local clusters; KEEP=1 leaves it running
	@$(BIN)/guildnet demo $(if $(KEEP),--keep)

test: install ## every tier this machine can run, saying which it skips and why
	@$(BIN)/python -m tests.run

test-fast: install ## unit and functional tests only
	@$(BIN)/python -m tests.run unit functional

verify: install ## what a change must pass besides `make test`: format, lint, types, imports, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory generate
	@git diff --exit-code -- crds repo-template/schemas || { echo "generated files were stale; commit them"; exit 1; }
	@$(MAKE) --no-print-directory test-fast

format: install ## rewrite the code in the house's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chaos: install ## kill the reconciler between any two steps, N=200 times; SEED=... repeats a run
	@CHAOS_ROUNDS=$(or $(N),200) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest --timeout=0 --capture=no --quiet tests/cluster/reconciler/test_killed_anywhere_nothing_is_lost.py

generate: install ## rewrite what is derived from the schemas
	@$(BIN)/guildnet schema crd -o yaml > crds/agenttasks.yaml
	@$(BIN)/guildnet schema org > repo-template/schemas/org.schema.json
	@$(BIN)/guildnet schema task > repo-template/schemas/task.schema.json

bench: install ## figures against a bare client in the same run, on a real API server
	@$(BIN)/python -m benchmarks

bench-large: install ## the benchmarks that take long: 100 orgs of 1,000 tasks on one API server
	@$(BIN)/python -m benchmarks --large

lock: ## pin every package anew (needs uv)
	@uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --quiet --custom-compile-command "make lock" --output-file requirements.lock
	@uv pip compile pyproject.toml --universal --generate-hashes --quiet --custom-compile-command "make lock" --output-file requirements-image.lock

clean: ## remove .venv and caches of this checkout (not the build cache of the devcluster)
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
