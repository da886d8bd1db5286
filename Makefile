# make demo    sets everything up, makes music from a built-in hum, opens the app
#              ONCE=1 stops after the music; PHONE=1 serves HTTPS on the local network
# make test    sets everything up and runs the tests      make lint   format, lint, types, imports
# make bench   writes benchmarks/*.md (DATA=folder); an hour of it is for benchmarks/audioldm_steps.md,
#              of which what is finished in build/audioldm-steps is kept
# make setup   only prepares .venv
# make minis-report  measures the bundled models and writes the tables of checkpoints/*/README.md
#              (MINIS=--quick for a few minutes instead of hours; MINIS=--help lists the options)
# make finetuning-report  fine-tunes both bundled models on a style of its own, in over an hour, and
#              writes benchmarks/finetuning.md; what is finished in build/finetuning is kept
#
# TORCH_INDEX=URL   where to find torch, e.g. PyTorch's CPU index, to avoid the CUDA build
# PYTHON=python3.12 another interpreter                   VENV=dir    another place for .venv

PYTHON ?= python3
VENV ?= .venv
PORT ?= 7860
DATA ?= ../shared/data
BIN := $(VENV)/bin
TORCH := $(shell grep '^torch==' requirements.txt)
STAMP := $(VENV)/setup-stamp
TEST_STAMP := $(VENV)/test-stamp
HASH = cat requirements.txt pyproject.toml | $(PYTHON) -c \
	"import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
TEST_HASH = cat requirements-test.txt $(STAMP) | $(PYTHON) -c \
	"import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: setup setup-test demo test lint format bench minis-report finetuning-report clean

setup:
	@if [ "$$($(HASH))" != "$$(cat $(STAMP) 2>/dev/null)" ]; then $(MAKE) --no-print-directory install; fi

.PHONY: install
install:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "voice2music needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "This Python cannot make virtual environments: install the Debian package python3-venv (sudo apt install python3-venv) and run make again."; exit 1; }
	@echo "Setting up $(VENV): the first time takes a few minutes and about 3 GB."
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	$(PIP) -r requirements.txt
	$(PIP) --no-deps --editable .
	@$(HASH) > $(STAMP)

setup-test: setup
	@if [ "$$($(TEST_HASH))" != "$$(cat $(TEST_STAMP) 2>/dev/null)" ]; then \
		$(PIP) -r requirements-test.txt && $(TEST_HASH) > $(TEST_STAMP); fi

demo: setup
	$(BIN)/voice2music make examples/ode-to-joy.flac --genre disco --out takes
	$(if $(ONCE),,$(BIN)/voice2music serve --port $(PORT) $(if $(PHONE),--phone) --open)

test: setup-test
	$(BIN)/python -m pytest -n 2 $(TESTS)

lint: setup-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup-test
	$(BIN)/python benchmarks/speed.py
	@test -d $(DATA) || { echo "There is no $(DATA): give the folder of reference recordings, make bench DATA=..."; exit 1; }
	$(BIN)/python benchmarks/hearing.py --data $(DATA)
	$(BIN)/python benchmarks/harmony.py $(DATA)/symbolic > benchmarks/harmony.md
	$(BIN)/python benchmarks/band.py $(DATA)/vocals > benchmarks/band.md
	$(BIN)/python benchmarks/cleanup.py $(DATA) > benchmarks/cleanup.md
	$(BIN)/python benchmarks/factory.py --archive $(DATA)/symbolic/OpenEWLD.tar.xz
	$(BIN)/python benchmarks/codec.py $(DATA) > benchmarks/codec.md
	$(BIN)/python benchmarks/builder.py > benchmarks/builder.md
	$(BIN)/python benchmarks/audioldm_steps.py --data $(DATA)
	$(BIN)/python benchmarks/musicgen_settings.py --data $(DATA)

minis-report: setup-test
	$(BIN)/python -m voice2music.evaluation.minis --data $(DATA) $(MINIS)

finetuning-report: setup-test
	$(BIN)/python benchmarks/finetuning.py

clean:
	rm -rf $(VENV) build dist *.egg-info takes
