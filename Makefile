# Freshet: `make demo` shows the whole loop, `make test` proves it.
# The newest of the Pythons that Freshet runs on. A version manager puts names on the path that don't run: try each.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11; do "$$python" -c '' 2>/dev/null && echo "$$python" && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
RUNS   := $(VENV)/.runs       # all that the system needs to run is installed
STAMP  := $(VENV)/.installed  # and all that builds and tests it
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable
PROTOS := $(wildcard protos/freshet/v1/*.proto)

# Tests run beside each other, each worker with a broker of its own. They wait more than they compute: more workers than cores.
WORKERS ?= 4
SPREAD  := --numprocesses $(WORKERS)

.PHONY: help install demo test slow unit kafka-test stack-test bench check format protos client clean
.DEFAULT_GOAL := help

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

install: $(STAMP)  ## Create .venv and install the project, with what builds and tests it.

$(RUNS): pyproject.toml constraints.txt
	@"$(PYTHON)" -c '' 2>/dev/null || { echo "Freshet needs Python 3.13, 3.12 or 3.11, and $(if $(PYTHON),$(PYTHON) does not run,found none of them). Install one, or name it: make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "Installing into $(VENV), for $$($(BIN)/python --version)."
	@echo "With torch's CPU build, about 520 MB are to be downloaded."
ifeq ($(shell uname -sm)$(PIP_EXTRA_INDEX_URL),Linux x86_64)
	@echo "On Linux x86-64 pip's ordinary index has only the CUDA build: about 3 GB in all."
	@echo "For the CPU build, stop here with Ctrl-C and set this before you start again:"
	@echo "  export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
endif
	$(PIP) '.[all]'
	$(BIN)/python -m shared.numeric.compiled
	@touch $@

$(STAMP): $(RUNS)
	@echo "Installing what builds and tests Freshet: about 100 MB more."
	$(PIP) '.[dev]'
	@touch $@

demo: $(RUNS)  ## The whole loop on one machine, in about two minutes. DATA=<file> [META=<file>] [MAPPING=<file>] for your data, KEEP=1 to leave it running.
	@$(BIN)/freshet demo $(if $(DATA),--data '$(DATA)') $(if $(META),--metadata '$(META)') $(if $(MAPPING),--mapping '$(MAPPING)') $(if $(KEEP),--keep)

test: $(STAMP)  ## Tests, but for the slow ones: unit, integration (embedded broker, real gRPC) and end to end. WORKERS=<n> run beside each other.
	$(BIN)/python -m pytest $(SPREAD) -m "not slow" --durations 10 --durations-min 5

slow: $(STAMP)  ## The slow tests: what takes more than 5 s.
	$(BIN)/python -m pytest $(SPREAD) --maxprocesses 3 -m slow --durations 10

unit: $(STAMP)  ## The unit tests alone, slow ones too.
	$(BIN)/python -m pytest $(SPREAD) tests/unit

kafka-test: $(STAMP)  ## What uses a broker, on a real Apache Kafka: FRESHET_TEST_KAFKA=<folder of a distribution>, or BROKER=<host:port> of one that runs.
	$(BIN)/python -m pytest $(SPREAD) --maxprocesses 3 --broker $(or $(BROKER),kafka) tests/integration tests/e2e tests/kafka

stack-test: $(STAMP)  ## The stack of docker-compose.yml, built, run and killed part by part; needs a Docker engine.
	$(BIN)/python -m pytest -s tests/stack

bench: $(STAMP)  ## Each figure beside its own limit, as a table and as bench.json. NAME=<name> for one of them.
	@$(BIN)/python -m tests.bench $(NAME) --json bench.json

check: $(STAMP)  ## Lint, format, types, layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## Let ruff rewrite what it can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(STAMP)  ## Generate shared/pb and the gateway's OpenAPI document from protos/.
	$(BIN)/python -m grpc_tools.protoc -I protos --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
	  --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=shared/pb --grpc_python_out=shared/pb --mypy_out=quiet:shared/pb --mypy_grpc_out=quiet:shared/pb $(PROTOS)
	find shared/pb -name '*.py*' -exec sed -i -E 's/^(from|import) freshet\.v1/\1 shared.pb.freshet.v1/; s/\bfreshet\.v1\.(events|limits|recommender)_pb2/shared.pb.freshet.v1.\1_pb2/g' {} +
	mkdir -p build
	$(BIN)/python -m grpc_tools.protoc -I protos --include_source_info --descriptor_set_out=build/protos.pb $(PROTOS)
	$(BIN)/python -P -m services.gateway.document build/protos.pb > build/openapi.json
	mv build/openapi.json services/gateway/openapi.json

client: $(STAMP)  ## Write the client for threads from the one for asyncio.
	$(BIN)/python -m tests.support.sync_client

clean:  ## Remove .venv and everything that can be made again.
	rm -rf $(VENV) .freshet build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
