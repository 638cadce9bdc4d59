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
# accelerate launch would set one thread per process; give it those asked for, or one per CPU.
THREADS ?= $(or $(OMP_NUM_THREADS),$(shell getconf _NPROCESSORS_ONLN))

.PHONY: train test lint tables docs install clean

train: $(INSTALLED)
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		--num_cpu_threads_per_process $(THREADS) \
		train.py configuration/recipes/storyworld_tiny.yaml --output_dir $(OUTPUT)

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
