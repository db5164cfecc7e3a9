# make demo       all five steps on the built-in synthetic data set, in minutes, and a report
# make model      train the bundled model, models/general.pth, on synthetic records alone
# make reproduce  everything the paper reports, and a report. DATA=data/CPSC names the data;
#                 ROUNDS=1 LEADS="all I aVR V5" EPOCHS=5 make it smaller;
#                 JOBS=2 trains two models at a time;
#                 CONFIG="use_gpu=True amp=True" changes values of config/paper.yaml;
#                 FLAGS="--dry-run" passes flags to Snakemake
# make overnight  the same jobs with the small network on two cores without a GPU, with the same
#                 variables (config/laptop.yaml)
# make test       linter, formatter and tests
# make lock       write locks/ anew, after a change of requirements*.txt; UV names the program uv
# make clean      delete the demo's data, model and results (not the environment)

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
DEMO := --data-dir data/synthetic
GENERAL := --data-dir data/general
# the small network, trained on records generated during training
NET := --arch resnet18 --width 24
LOG := results/demo.log
FRESH := --seconds 10 --windows --fresh 2000 --schedule cosine --batch-size 16 --lr 2e-3 --num-workers 1
# what keeps healthy people from getting a finding (docs/model.md)
HEALTHY := --centred --evidence --normal SNR --prevalence 0.05
DATA ?= data/CPSC

# a value as it was typed, for the shell, and as a text of YAML for the configuration: no blank,
# quote or dollar in it means anything (Snakemake would strip quotes from its ends)
shell_quoted = '$(subst ','\'',$(1))'
text_quoted = !!str '$(subst ','',$(1))' \#
text_value = $(call shell_quoted,$(1)=$(call text_quoted,$(value $(2))))
unexport DATA LEADS

.PHONY: demo model reproduce overnight test lint lock clean

# a lock is complete: nothing is looked for besides, and each file must have the hash that it names
INSTALL := $(BIN)/pip install --disable-pip-version-check --require-hashes --no-deps
UV ?= uv

.venv/.installed: locks/packages.txt locks/torch.txt locks/cuda.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: Python 3.11 or later is needed; try: make PYTHON=python3.11' >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(INSTALL) -r locks/packages.txt
	@# another index than PyPI has builds of torch of its own, such as smaller ones for CPUs alone
	if $(BIN)/pip config list | grep -Eq 'index-url|find-links'; \
	  then $(BIN)/pip install --disable-pip-version-check "$$(grep ^torch== requirements.txt)"; \
	  else $(INSTALL) -r locks/torch.txt -r locks/cuda.txt; fi
	@touch $@

.venv/.workflow: .venv/.installed locks/workflow.txt
	@# one of them has to be built: with the setuptools of the lock
	$(INSTALL) --no-build-isolation -r locks/workflow.txt
	@touch $@

lock:
	python3 locks/make.py $(UV)

demo: .venv/.installed
	@mkdir -p results/dataset_synthetic
	@echo 'the output of the steps goes to $(LOG); progress is shown here'
	$(BIN)/python -m ecg.synthetic $(DEMO) --records 400 --seed 0 > $(LOG)
	$(BIN)/python preprocess.py $(DEMO) >> $(LOG)
	$(BIN)/python baselines.py $(DEMO) --classifier all >> $(LOG)
	$(BIN)/python main.py $(DEMO) $(NET) $(FRESH) --epochs $(or $(EPOCHS),4) >> $(LOG)
	$(BIN)/python predict.py $(DEMO) $(NET) >> $(LOG)
	$(BIN)/python shap_values.py $(DEMO) $(NET) --background 50 --records 18 --samples 100 >> $(LOG)
	@cp data/synthetic/dataset_table.csv results/dataset_synthetic
	@$(BIN)/python -m ecg.report $(DEMO) $(NET)

model: .venv/.installed
	$(BIN)/python -m ecg.synthetic $(GENERAL) --records 4000 --seed 1
	$(BIN)/python preprocess.py $(GENERAL)
	$(BIN)/python main.py $(GENERAL) $(NET) $(FRESH) $(HEALTHY) --epochs $(or $(EPOCHS),15) --seed 43
	$(BIN)/python -m ecg.release --model-path models/resnet18w24_general_all_43.pth

reproduce: .venv/.workflow
	$(BIN)/snakemake $(FLAGS) --config $(call text_value,data_dir,DATA) $(if $(ROUNDS),rounds=$(ROUNDS)) \
	  $(if $(value LEADS),$(call text_value,lead_sets,LEADS)) $(if $(EPOCHS),epochs=$(EPOCHS)) \
	  $(if $(JOBS),jobs=$(JOBS)) $(CONFIG)

overnight: override FLAGS += --configfile config/laptop.yaml
overnight: reproduce

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

test: .venv/.workflow lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto

clean:
	rm -rf data/synthetic models/*_synthetic_* models/.*_synthetic_* results/*_synthetic_* \
	  explanations/*_synthetic_* results/dataset_synthetic results/logs_synthetic \
	  results/times_synthetic results/demo.log results/report.html results/.reproduce.lock .snakemake
