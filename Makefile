# Parley's commands. `make help` lists them.
#
# Every target sets up what it needs first (tools/setup.py); where that is already done, it takes
# a tenth of a second.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# Any Python 3: it only runs the set-up, which finds or asks for one that fits.
BOOTSTRAP_PYTHON := $(or $(shell command -v python3),$(PARLEY_PYTHON),python3)
BIN := .venv/bin
PYTHON := $(BIN)/python
SETUP := $(BOOTSTRAP_PYTHON) tools/setup.py

# One benchmark after another, and its own output whole: `make -j` must not mix them.
.NOTPARALLEL:

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^## / { printf "\n%s\n", substr($$0, 4) } \
	  /^[a-z][a-zA-Z0-9_%-]*:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: make run TLS=1 BIND=0.0.0.0 speaks HTTPS to phones on the network;"
	@echo "PARLEY_PYTHON=/path/to/python3 chooses the Python of .venv;"
	@echo "PARLEY_*: every setting of the running system is in docs/settings.md."

## Use

.PHONY: run
run: setup ## set up, build the page, fetch the models, start everything and wait until it is ready
	@$(PYTHON) -m tools.web build --or-warn
	@$(if $(TLS),PARLEY_TLS=$(TLS) )$(if $(BIND),PARLEY_GATEWAY_HOST=$(BIND) )exec $(PYTHON) -m launcher $(ARGS)

.PHONY: setup
setup: ## install what running needs, into .venv
	@$(SETUP) run

.PHONY: web
web: setup ## build the web page where its sources changed; `make run` does it too
	@$(PYTHON) -m tools.web build

.PHONY: engines
engines: ## install the clients of providers elsewhere as well (docs/engines.md)
	@$(SETUP) engines

.PHONY: models
models: setup ## fetch and verify the models of a preset (PRESET=default, light or test)
	@$(BIN)/parley models fetch $(if $(PRESET),--preset $(PRESET))

## Develop

.PHONY: dev
dev: ## install what developing needs as well
	@$(SETUP) dev

.PHONY: web-dev
web-dev: dev ## serve the page with Vite, which shows a change at once, beside a running `make run`
	@$(PYTHON) -m tools.web dev $(ARGS)

.PHONY: test
test: tested ## run the tests (ARGS="tests/unit -k name" chooses)
	@$(if $(ARGS),,$(PYTHON) -m tools.web test)
	@$(BIN)/pytest $(if $(ARGS),$(ARGS),-n logical --dist loadscope --no-loadscope-reorder)

.PHONY: test-e2e
test-e2e: tested ## run the tests in a real browser alone
	@$(BIN)/pytest tests/e2e/web $(ARGS)

.PHONY: test-postgresql
test-postgresql: dev ## run the services' contract tests with their data in PostgreSQL
	@$(BIN)/pytest -n logical --dist loadscope --no-loadscope-reorder --postgresql tests/contract $(ARGS)

# The hundred kills take some twenty minutes.
.PHONY: test-fault
test-fault: dev ## kill services, PostgreSQL and Redis under live talks, keep S3 away (FAULTS=100, FAULT_SEED=1)
	@FAULTS=$(or $(FAULTS),100) FAULT_SEED=$(or $(FAULT_SEED),1) $(BIN)/pytest -s tests/fault tests/contract/media/test_hostile.py tests/integration/admin/round_trip.py $(ARGS)

.PHONY: test-soak
test-soak: dev ## mixed load, a third broken off: memory, files and tasks stay flat (ARGS="--seconds 7200" for two hours)
	@$(PYTHON) -m tests.fault.soak $(ARGS)

.PHONY: test-web
test-web: dev ## run the web page's component tests alone (ARGS="session" chooses)
	@$(PYTHON) -m tools.web test $(ARGS)

# What tests need beside packages: models, the tests' own ear (it reads back what the tutor says), the
# one that hears a second time, a browser, and the page that it opens.
.PHONY: tested
tested: dev
	@$(BIN)/parley models fetch --preset test
	@$(BIN)/parley models fetch moonshine-base-en-int8 whisper-base-int8
	@$(PYTHON) -m tools.browser >/dev/null
	@$(PYTHON) -m tools.web build

.PHONY: prove
prove: dev ## the long proofs: 10,000 event sequences a machine, 30 breaks, 200 interruptions
	@SESSION_SEQUENCES=10000 RESUME_BREAKS=30 $(BIN)/pytest --timeout 1800 tests/unit/ai/test_turn_taking_properties.py \
	  tests/unit/conversation/test_session_properties.py tests/e2e/test_resume.py
	@$(PYTHON) -m bench.interruptions

.PHONY: fuzz
fuzz: dev ## 10,000 malformed or mutated messages to each service (FUZZ_SEED=2 for others)
	@FUZZ_MESSAGES=10000 $(BIN)/pytest --timeout 1800 -s tests/fuzz/test_messages.py $(ARGS)

.PHONY: fuzz-decoders
fuzz-decoders: dev ## search ten minutes for bytes that break a decoder or the session (Linux; ARGS="--seconds 60")
	@$(PYTHON) -m pip install --quiet --require-hashes --requirement requirements/fuzz.txt
	@$(PYTHON) -m tests.fuzz.decoders $(ARGS)

.PHONY: check
check: dev ## everything that reads the code: format, lint, types, imports, stubs, docs
	@$(PYTHON) tools/check.py $(ARGS)

.PHONY: format
format: dev ## format Python, TypeScript and protos, and fix what the linter can
	@ruff check --fix --quiet . || true
	@ruff format .
	@buf format protos --write
	@$(PYTHON) -m tools.web format

.PHONY: gen
gen: dev ## generate the stubs from protos/
	@$(PYTHON) tools/generate_stubs.py

.PHONY: docs
docs: dev ## generate the pages of settings, errors, limits, tables and the contract from the code
	@$(PYTHON) tools/generate_settings_docs.py
	@$(PYTHON) -m tools.generate_tables_docs
	@$(PYTHON) -m tools.generate_schema_docs
	@$(PYTHON) -m tools.generate_api_docs

.PHONY: lock
lock: dev ## compile requirements/*.txt (ARGS=--upgrade moves every pin)
	@$(PYTHON) tools/lock.py $(ARGS)

.PHONY: clean
clean: ## remove the virtual environment, npm packages and caches; models and data stay
	@rm -rf .venv .venv-peers .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache dist build test-output */*/node_modules clients/web/dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

## Measure

# `make bench-NAME` runs bench/NAME.py; what it takes and prints is in bench/README.md.
bench-%: dev ## run one benchmark (bench/README.md lists them; ARGS="--turns 3" passes options)
	@$(PYTHON) -m bench.$(subst -,_,$*) $(if $(DATA),--data $(DATA)) $(ARGS)
