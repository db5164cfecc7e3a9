# make demo       all five steps on the built-in synthetic data set, in minutes
# make test       linter, formatter and tests
# make clean      forget the demo's data, model and results (not the environment)

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
DEMO := --data-dir data/synthetic
# bfloat16 halves the time of training where the processor has it
AMP := $(shell grep -qsE 'amx_bf16|avx512_bf16' /proc/cpuinfo && echo --amp)
EPOCHS ?= 8

.PHONY: demo test lint clean

.venv/.installed: requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: Python 3.11 or later is needed; try: make PYTHON=python3.11' >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: .venv/.installed
	$(BIN)/python synthetic.py $(DEMO) --records 400 --seed 0
	$(BIN)/python preprocess.py $(DEMO)
	$(BIN)/python baselines.py $(DEMO) --classifier all
	$(BIN)/python main.py $(DEMO) --seconds 10 --epochs $(EPOCHS) --batch-size 4 --lr 5e-4 $(AMP)
	$(BIN)/python predict.py $(DEMO)
	$(BIN)/python shap_values.py $(DEMO) --background 50 --records 18 --samples 50
	@echo
	@echo 'scores on the synthetic test fold (research use only; not a diagnosis):'
	@column -s, -t results/resnet34_synthetic_all_42/scores.csv || cat results/resnet34_synthetic_all_42/scores.csv
	@echo
	@echo 'figures:'
	@ls results/resnet34_synthetic_all_42/*.png shap/resnet34_synthetic_all_42/*.png
	@ls shap/resnet34_synthetic_all_42/patient/*.png | head -n 3

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

test: lint
	$(BIN)/python -m pytest -q

clean:
	rm -rf data/synthetic models/resnet34_synthetic_* results/*_synthetic_* shap/*_synthetic_*
