# make train    set up .venv and run the main job: train the tiny model on StoryWorld, evaluate it, write runs/tiny
# make test     set up .venv and run lint and tests
# make lint     check the code's form
# make tables   write the tables of README, docs and cards from the results files
# make docs     write the tables and build the site into site/
# make install  set up .venv alone
# make clean    remove .venv, runs/ and what builds and tools left behind

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DOCS := $(VENV)/.installed-docs
OUTPUT ?= runs/tiny
CPUS := $(shell getconf _NPROCESSORS_ONLN)
GPU := $(shell command -v nvidia-smi)
# Without a GPU, two processes share each step's four stories, which is faster than one process with all threads; accelerate
# launch would set one thread per process. bfloat16 is faster where the CPU computes with it, and far slower elsewhere.
PROCESSES ?= $(if $(GPU),1,$(if $(filter 1,$(CPUS)),1,2))
THREADS ?= $(or $(OMP_NUM_THREADS),$(shell expr $(CPUS) / $(PROCESSES)))
PRECISION ?= $(if $(GPU),bf16,$(if $(shell grep -m 1 -s amx_bf16 /proc/cpuinfo),bf16,no))
LAUNCH_ONE := --num_processes 1 --num_machines 1 --dynamo_backend no
LAUNCH := $(if $(filter 1,$(PROCESSES)),$(LAUNCH_ONE),--config_file configuration/accelerate/multi_cpu.yaml)

.PHONY: train test lint tables docs install clean

train: $(INSTALLED)
	$(if $(GPU),,ACCELERATE_USE_CPU=true) $(BIN)/accelerate launch $(LAUNCH) --mixed_precision $(PRECISION) \
		--num_cpu_threads_per_process $(THREADS) \
		train.py configuration/recipes/storyworld_tiny.yaml --train_batch_size $(shell expr 4 / $(PROCESSES)) \
		--output_dir $(OUTPUT)

# Byte code is kept even where the environment says otherwise: dozens of processes that tests start would compile it anew.
test: lint
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

tables: $(INSTALLED)
	$(BIN)/python docs/tables.py

docs: tables $(INSTALLED_DOCS)
	$(BIN)/mkdocs build --strict

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt -e ".[test,metrics]"
	touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(BIN)/pip install -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) runs site build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
