# Everything a person or CI runs. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INTEROP := .venv-interop
BENCH := .venv-bench
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --generate-hashes --unsafe-package affidavit --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
# Where the tests find a browser. Debian calls it chromium, others chromium-browser or google-chrome.
CHROMIUM := $(BIN)/python -m tools.chromium
# PostgreSQL 15 and PgBouncer come from the system, PostgreSQL 18 from the lock file.
POSTGRES := $(BIN)/python -m tools.postgres
TESTS ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install interop lock demo example-integration example-pipelines test check-style lint types docs chromium postgres requirements format bench bench-large soak mutate build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## make .venv with every extra, from the lock file

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

interop: install $(INTEROP)/.installed tests/interop/node_modules/.package-lock.json ## install the programs that check our proofs

$(INTEROP)/.installed: requirements/interop.txt
	test -x $(INTEROP)/bin/python || $(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/interop.txt
	touch $@

tests/interop/node_modules/.package-lock.json: tests/interop/package-lock.json
	npm ci --loglevel=error --prefix tests/interop
	touch $@

$(BENCH)/.installed: requirements/bench.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/bench.txt
	touch $@

lock: ## write the lock files anew, with the newest versions that pyproject.toml admits
	$(COMPILE) --upgrade --all-extras --output-file requirements/dev.txt pyproject.toml requirements/dev.in
	$(COMPILE) --extra server --extra postgres --constraint requirements/dev.txt --output-file requirements/server.txt pyproject.toml
	$(COMPILE) --upgrade --output-file requirements/interop.txt requirements/interop.in
	$(COMPILE) --upgrade --constraint requirements/dev.txt --output-file requirements/bench.txt requirements/bench.in
	sed -i -e '/^#/d' -e '/^$$/d' requirements/dev.txt requirements/server.txt requirements/interop.txt requirements/bench.txt
	sed -i '1i # Made by make lock: every package that development needs, with the hashes of all its files.' requirements/dev.txt
	sed -i '1i # Made by make lock: every package that the server needs, with the hashes of all its files.' requirements/server.txt
	sed -i '1i # Made by make lock: the programs that check our proofs, with the hashes of all their files.' requirements/interop.txt
	sed -i '1i # Made by make lock: what make bench measures us against, with the hashes of all files.' requirements/bench.txt
	npm update --loglevel=error --package-lock-only --prefix tests/interop

demo: install ## fill a database with a believable company, serve it, print a login link
	$(BIN)/affidavit demo

example-integration: install ## an integration platform on FastAPI with Affidavit in it, on http://127.0.0.1:8000
	cd examples/integration-platform && ../../$(BIN)/python -m integration_platform

example-pipelines: install ## a data-pipeline platform on Django with Affidavit in it, on http://127.0.0.1:8000
	cd examples/data-pipelines && ../../$(BIN)/python manage.py up

test: lint docs chromium postgres interop ## everything that CI runs
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope $(TESTS)

lint: install ## style, format and types
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy

format: install ## put every file in its format
	$(BIN)/ruff check --quiet --fix . || true
	$(BIN)/ruff format --quiet .

docs: install ## build the documentation; a broken link fails
	$(BIN)/properdocs build --quiet --strict --site-dir site

chromium: install
	$(CHROMIUM)

postgres: install
	$(POSTGRES)

requirements: install ## write docs/requirements.md from the marks on the tests
	$(BIN)/python tools/requirements.py

bench: install postgres $(BENCH)/.installed ## measure both engines beside the raw ones, at a million events
	$(BIN)/python -m bench

bench-large: install postgres ## the pages at ten million events on PostgreSQL
	$(BIN)/python -m bench --large

soak: install ## the long runs: kill the server and its worker fifty times under load; log in runs/soak.log
	mkdir -p runs
	{ date -u +'%F %T UTC'; git describe --always --dirty --abbrev=12; uname -srm; grep -m 1 'model name' /proc/cpuinfo; nproc; } > runs/soak.log
	bash -o pipefail -c "$(BIN)/python -m pytest -m soak -v --timeout 7200 tests | tee -a runs/soak.log"

mutate: install ## random changes to databases and bundles, each noticed: 10,000 on SQLite, 2,000 on PostgreSQL; logs in runs/
	mkdir -p runs
	for each in mutate mutate-postgresql; do { date -u +'%F %T UTC'; git describe --always --dirty --abbrev=12; uname -srm; grep -m 1 'model name' /proc/cpuinfo; nproc; } > runs/$$each.log; done
	bash -o pipefail -c "$(BIN)/python -m tests.mutation.run --changes 10000 | tee -a runs/mutate.log"
	bash -o pipefail -c "$(BIN)/python -m tests.mutation.run --engine postgresql --changes 2000 --events 1000 | tee -a runs/mutate-postgresql.log"

build: install ## the wheel, the source archive and the verifier as one file, in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python tools/join_verifier.py dist/affidavit-verify.py

clean: ## remove what make made, .venv included
	rm -rf $(VENV) $(INTEROP) $(BENCH) tests/interop/node_modules dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
