# make train    set up .venv and run the main job: train the tiny model on StoryWorld, evaluate it, write runs/tiny
# make test     set up .venv and run lint and tests
# make install  set up .venv alone
# make clean    remove .venv, runs/ and what builds and tools left behind

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OUTPUT ?= runs/tiny
# accelerate launch would set one thread per process; give it those asked for, or one per CPU.
THREADS ?= $(or $(OMP_NUM_THREADS),$(shell getconf _NPROCESSORS_ONLN))

.PHONY: train test install clean

train: $(INSTALLED)
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no \
		--num_cpu_threads_per_process $(THREADS) \
		train.py configuration/recipes/storyworld_tiny.yaml --output_dir $(OUTPUT)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
