# `make help` lists the targets. Variables may be set in the environment or behind
# `make`: make serve PORT=9000 ARGS="--max-num-seqs 4"

PYTHON ?= python3.11
VENV ?= .venv
VENV_OPTIONS ?=
MODEL ?=
HOST ?= 127.0.0.1
PORT ?= 8080
ARGS ?=
VERSION ?=
VLLM ?=
SGLANG_VERSION ?= 0.5.23
RAY_VERSION ?= 2.60.0

BIN := $(VENV)/bin
TINY_MODEL := build/tiny-llama
# For engines on a CPU: see the file in it.
CPU_STARTUP := $(CURDIR)/tools/cpu_startup$(if $(PYTHONPATH),:$(PYTHONPATH))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install dev vllm sglang ray format lint docs test test-slow test-vllm test-sglang test-ray test-nodes test-poetry test-sagemaker-sdk moved-names gpu-test all serve serve-ray tiny-model bench bench-layers bench-serving bench-sglang bench-ray bench-scale bench-startup bench-ping clean pre-commit-install

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo "variables: PYTHON=$(PYTHON) VENV=$(VENV) MODEL=$(MODEL) HOST=$(HOST) PORT=$(PORT) ARGS=$(ARGS) VLLM_VERSION=$(VLLM_VERSION) VERSION=$(VERSION)"

# --- set-up ------------------------------------------------------------------------

install: dev vllm ## make VENV: the tools, this package (editable) and vLLM

dev: $(VENV)/.dev

# Runs each time: it looks at what is installed, which takes no time.
# After `dev`: with this package there, pip need not fetch a published one for vLLM.
vllm: dev
	@$(BIN)/python tools/install_vllm.py

# After `vllm`: its environment is layered on that of vLLM.
sglang: install ## make an environment with a real SGLang for the CPU, below build
	@PYTHONPATH=tools $(BIN)/python -m sglang_cpu $(SGLANG_VERSION) build/sglang-$(SGLANG_VERSION)

# After `vllm` too, and on another release with VLLM: each Ray pins one.
ray: install ## make an environment with a real Ray Serve LLM for the CPU, below build
	$(if $(VLLM),@test -e build/vllm-$(VLLM) || \
	    PYTHONPATH=tools $(BIN)/python -m old_vllm "$(VLLM)" build/vllm-$(VLLM))
	@PYTHONPATH=tools $(if $(VLLM),build/vllm-$(VLLM)/bin,$(BIN))/python -m ray_cpu \
	    $(RAY_VERSION) build/ray-$(RAY_VERSION)

# Conflicts are not shown: vLLM's CPU build is installed without three requirements.
$(VENV)/.dev: pyproject.toml integrations/mhcs.pth integrations/mhcs.start | $(VENV)/.pip
	@echo "installing the development tools and this package"
	@$(BIN)/python -m pip install -qq --no-warn-conflicts --editable . --group dev
	@touch $@

# 25.1 is the first pip that installs dependency groups.
$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "'$(PYTHON)' is not Python 3.10 or newer (3.11 for vLLM's CPU build)." >&2; \
	    echo "Install Python 3.11, or name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	    exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)
	@$(BIN)/python -m pip install -qq --upgrade 'pip>=25.1'
	@touch $@

# --- work --------------------------------------------------------------------------

format: dev ## rewrite the sources as `lint` wants them
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

lint: dev ## ruff, mypy, import-linter and the documentation's links
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs: dev ## the documentation's site, below build/site
	$(BIN)/python tools/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# More than there are cores: they wait for servers most of the time. What shares a server
# runs in one of them, and what takes longest begins (tests/conftest.py). Some machines
# tell Python to write no bytecode; hundreds of servers would then compile our modules.
WORKERS ?= 5
DISTRIBUTED = --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

test: install ## all but the slowest tests, and 95 % of the branches, by WORKERS at once
	$(BIN)/coverage erase
	@$(BIN)/python -m compileall -q core integrations tests/support
	$(BIN)/coverage run -m pytest -m "not slow" $(DISTRIBUTED) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-slow: WORKERS = 2
test-slow: install ## the slowest tests, mostly of a real vLLM that is started again and again
	$(BIN)/python -m pytest -m slow $(DISTRIBUTED) $(ARGS)

# An environment takes 3 GB and a run ten minutes: it is removed after a green one, and
# left for a look at it after another. OLD is where it is, RESULT what came of it.
OLD := build/vllm-$(VERSION)
RESULT := build/results/vllm-$(VERSION).xml

test-vllm: WORKERS = 2
test-vllm: dev ## the tests of a real vLLM in a new environment with vLLM VERSION
	@rm -f $(RESULT)
	PYTHONPATH=tools $(BIN)/python -m old_vllm "$(VERSION)" $(OLD)
	$(OLD)/bin/python -m pytest -m vllm --junitxml=$(RESULT) $(DISTRIBUTED) $(ARGS)
	rm -rf $(OLD)

test-sglang: SGLANG_VERSION := $(or $(VERSION),$(SGLANG_VERSION))
test-sglang: sglang ## all tests of a real SGLang with SGLang VERSION, which take minutes
	TEST_SGLANG=1 SGLANG_VERSION=$(SGLANG_VERSION) $(BIN)/python -m pytest -m sglang \
	    --junitxml=build/results/sglang-$(SGLANG_VERSION).xml $(ARGS)

test-ray: RAY_VERSION := $(or $(VERSION),$(RAY_VERSION))
test-ray: ray ## all tests of a real Ray Serve LLM with Ray VERSION, on VLLM; takes minutes
	TEST_RAY=1 RAY_VERSION=$(RAY_VERSION) $(BIN)/python -m pytest -m ray \
	    --junitxml=build/results/ray-$(RAY_VERSION).xml $(ARGS)

test-nodes: install tiny-model ## a real vLLM on two nodes of this machine, which takes minutes
	TEST_NODES=1 $(BIN)/python -m pytest tests/engines/real_vllm/test_two_nodes.py $(ARGS)

test-poetry: dev ## Poetry installs this package, which takes minutes
	TEST_POETRY=1 $(BIN)/python -m pytest tests/process/test_poetry.py $(ARGS)

test-sagemaker-sdk: dev ## the SageMaker Python SDK calls an endpoint of mhcs local
	TEST_SAGEMAKER_SDK=1 $(BIN)/python -m pytest tests/process/local/test_guide.py $(ARGS)

moved-names: dev ## the names that vLLM moved, from the wheels of all its releases (2.4 GB)
	PYTHONPATH=tools $(BIN)/python -m moved_names --download build/wheels

# In an engine's own image: make gpu-test PYTHON=python3 VENV_OPTIONS=--system-site-packages
gpu-test: dev ## the promises on the engines of VENV, which need a GPU
	MODEL=$(MODEL) $(BIN)/python -m pytest gpu_tests $(ARGS)

all: lint test ## lint and test

pre-commit-install: dev ## run `lint` before each commit
	$(BIN)/pre-commit install

bench: install ## the numbers of docs/explanation/performance.md, on this machine
	$(BIN)/python benchmarks/run.py $(ARGS)

# Needs valgrind. Names of cases in benchmarks/traffic.py may follow as ARGS.
bench-layers: install ## what each layer of a request costs, in instructions
	$(BIN)/python benchmarks/layers.py $(ARGS)

# They start their servers as the tests do.
bench-serving: install ## /invocations of a real vLLM under load, on this machine
	PYTHONPATH=tests/support $(BIN)/python benchmarks/serving.py $(ARGS)

bench-sglang: sglang ## a real SGLang with this package and without it, on this machine
	PYTHONPATH=tests/support:tests/contract $(BIN)/python benchmarks/sglang.py $(ARGS)

bench-ray: ray tiny-model ## a real Ray Serve LLM with this package and without it, on this machine
	PYTHONPATH=tests/support:tests/contract $(BIN)/python benchmarks/ray_serve.py $(ARGS)

bench-scale: install ## API servers, adapters and sessions: requests/s, CPU time, memory
	PYTHONPATH=tests/support $(BIN)/python benchmarks/scale.py $(ARGS)

bench-startup: install ## from `mhcs serve` and `vllm serve` to the first /ping
	PYTHONPATH=tests/support $(BIN)/python benchmarks/startup.py $(ARGS)

bench-ping: install ## /ping while a real vLLM has more to do than it can
	PYTHONPATH=tests/support $(BIN)/python benchmarks/ping.py $(ARGS)

# --- serve -------------------------------------------------------------------------

# The log says which handlers answer, and where they come from.
serve: export SAGEMAKER_CONTAINER_LOG_LEVEL ?= INFO

# Without MODEL: a tiny model, which needs no download and little memory.
ifeq ($(MODEL),)
serve: tiny-model
serve: export VLLM_CPU_KVCACHE_SPACE ?= 1
serve: export HF_HUB_OFFLINE ?= 1
serve: export PYTHONPATH := $(CPU_STARTUP)
SERVED := $(TINY_MODEL) --max-model-len 256 --enforce-eager
else
SERVED := $(MODEL)
endif

serve: install ## `vllm serve` MODEL (a tiny one by default) on PORT; ARGS are passed on
	exec $(BIN)/vllm serve $(SERVED) --host $(HOST) --port $(PORT) $(ARGS)

# Two nodes, each with a replica of the ingress and of the model.
serve-ray: export SAGEMAKER_CONTAINER_LOG_LEVEL ?= INFO
serve-ray: export VLLM_CPU_KVCACHE_SPACE ?= 1
serve-ray: export HF_HUB_OFFLINE ?= 1
serve-ray: export PYTHONPATH := $(CPU_STARTUP)
serve-ray: tiny-model ray ## the tiny model by Ray Serve LLM, on a cluster on this machine
	exec build/ray-$(RAY_VERSION)/bin/python tools/ray_cluster.py $(TINY_MODEL) \
	    --host $(HOST) --port $(PORT) $(ARGS)

tiny-model: install
	@$(BIN)/python tools/tiny_model.py $(TINY_MODEL)

clean: ## remove VENV and everything that was built
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
