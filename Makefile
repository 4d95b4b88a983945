# `make help` lists the targets. Everything runs from .venv, which `make install` creates.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Without pip's update notices.
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-talos verify format bench bench-large chaos generate lock release clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/installed ## create .venv, with the `guildnet` command in .venv/bin

$(VENV)/installed: requirements.lock pyproject.toml
	@echo "installing Python packages into $(VENV) (about 1 min) ..."
	@$(PYTHON) -c 'import sys; sys.exit("GuildNet needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

demo: install ## run the demo on two real local clusters; KEEP=1 leaves it running, MESH=1 adds a mesh
	@$(BIN)/guildnet demo $(if $(KEEP),--keep) $(if $(MESH),--mesh)

test: install ## run all tests that this machine can run; say which are skipped and why
	@$(BIN)/python -m tests.run

test-fast: install ## run the unit and functional tests
	@$(BIN)/python -m tests.run unit functional

test-talos: install ## run the tests on real Talos machines; compiles Talos first, about 7 min
	@$(BIN)/python -m tests.run talos

verify: install ## check format, lint, types, imports and generated files; run the fast tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory generate
	@git diff --exit-code -- crds deploy/charts repo-template/schemas || { echo "generated files were out of date; commit them"; exit 1; }
	@$(MAKE) --no-print-directory test-fast

format: install ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

chaos: install ## kill the reconciler between any two steps, N=200 times; SEED=... repeats a run
	@CHAOS_ROUNDS=$(or $(N),200) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest --timeout=0 --capture=no --quiet tests/cluster/reconciler/test_killed_anywhere_nothing_is_lost.py

generate: install ## regenerate the files derived from the schemas, and those of the charts
	@$(BIN)/guildnet schema crd -o yaml > crds/agenttasks.yaml
	@$(BIN)/guildnet schema org > repo-template/schemas/org.schema.json
	@$(BIN)/guildnet schema task > repo-template/schemas/task.schema.json
	@$(BIN)/python deploy/charts/generate.py

bench: install ## run the benchmarks on a real API server, beside a plain client
	@$(BIN)/python -m benchmarks

bench-large: install ## run the long benchmarks: 100 orgs of 1,000 tasks on one API server
	@$(BIN)/python -m benchmarks --large

lock: ## pin all packages again (needs uv)
	@uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --quiet --custom-compile-command "make lock" --output-file requirements.lock
	@uv pip compile pyproject.toml --universal --generate-hashes --quiet --custom-compile-command "make lock" --output-file requirements-image.lock

release: install ## make the files of a release of HEAD in dist/; AGENTS="codex pi" DPKG_STATUS=FOLDER
	@$(BIN)/python -m release --agents "$(AGENTS)" $(if $(DPKG_STATUS),--dpkg-status "$(DPKG_STATUS)")

clean: ## remove .venv and caches of this checkout (not the build cache of the devcluster)
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
