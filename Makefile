# Every chore is one documented command: `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo_output
# a bundle is run from its own folder, as MONAI's users do
RUN = $(abspath $(BIN))/python -m monai.bundle run --meta_file configs/metadata.json --logging_file configs/logging.conf
# Holoscan's threads want this stack, and importing MONAI imports Holoscan where it is installed
STACK = ulimit -s 32768 2>/dev/null || true
# waiting threads sleep instead of spinning: beside other work a training then takes its share, not many times as long
export OMP_WAIT_POLICY ?= PASSIVE
IN_RECON = cd bundles/infomri_recon && $(RUN)
IN_SEGMENTATION = cd bundles/infomri_segmentation && $(RUN)
IN_PRIVACY = cd bundles/infomri_privacy_classification && $(RUN)

help:  ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(VENV)/.installed: constraints.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,deploy,test]'
	touch $@

install: $(VENV)/.installed  ## create .venv with the pinned dependencies

demo: install  ## train, evaluate and infer on embedded data; pictures and tables in demo_output/
	$(IN_RECON) --config_file "['configs/train.json']" --output_dir $(abspath $(DEMO)) --tracking mlflow
	$(IN_RECON) --config_file "['configs/train.json','configs/evaluate.json']" --output_dir $(abspath $(DEMO)) --tracking mlflow
	cp $(DEMO)/training.png $(DEMO)/evaluation/
	$(IN_RECON) --config_file configs/inference.json --output_dir $(abspath $(DEMO))/inference
	@echo; cat $(DEMO)/evaluation/rate_distortion.md; echo; echo "Pictures: $(DEMO)/evaluation/*.png, $(DEMO)/training.png"
	@echo "Tracking: $(BIN)/mlflow ui --backend-store-uri sqlite:///$(abspath $(DEMO))/mlruns.db"

demo-segmentation: install  ## train, evaluate and infer segmentations on embedded data; in demo_output_segmentation/
	$(IN_SEGMENTATION) --config_file "['configs/train.json']" --output_dir $(abspath $(DEMO)_segmentation) --tracking mlflow
	$(IN_SEGMENTATION) --config_file "['configs/train.json','configs/evaluate.json']" --output_dir $(abspath $(DEMO)_segmentation) --tracking mlflow
	$(IN_SEGMENTATION) --config_file configs/inference.json --output_dir $(abspath $(DEMO)_segmentation)/inference \
		--model_path $(abspath $(DEMO)_segmentation)/model.pt --policy_path $(abspath $(DEMO)_segmentation)/policy.pt \
		--triage_path $(abspath $(DEMO)_segmentation)/triage.json
	@echo; cat $(DEMO)_segmentation/evaluation/segmentation.md; echo; echo "Pictures: $(DEMO)_segmentation/evaluation/*.png"
	@echo "Worklists: $(DEMO)_segmentation/evaluation/worklist.csv, $(DEMO)_segmentation/inference/worklist.csv"

demo-privacy: install  ## train, evaluate, attack and classify on embedded data; in demo_output_privacy/
	$(IN_PRIVACY) --config_file "['configs/train.json']" --output_dir $(abspath $(DEMO)_privacy) --tracking mlflow
	$(IN_PRIVACY) --config_file "['configs/train.json','configs/evaluate.json']" --output_dir $(abspath $(DEMO)_privacy) --tracking mlflow
	$(IN_PRIVACY) --config_file "['configs/train.json','configs/audit.json']" --output_dir $(abspath $(DEMO)_privacy) --tracking mlflow
	$(IN_PRIVACY) --config_file configs/inference.json --output_dir $(abspath $(DEMO)_privacy)/inference \
		--model_path $(abspath $(DEMO)_privacy)/model.pt --policy_path $(abspath $(DEMO)_privacy)/policy.pt
	@echo; cat $(DEMO)_privacy/evaluation/classification.md; echo; cat $(DEMO)_privacy/audit/report.md
	@echo "Pictures: $(DEMO)_privacy/evaluation/*.png, $(DEMO)_privacy/audit/*.png; report of cases: $(DEMO)_privacy/inference/report.csv"

demo-deploy: install system-packages  ## send a study to a PACS, segment it, find the result there; in demo_output_deploy/
	$(BIN)/python -m infomri_monai.deploy.demo --output $(abspath $(DEMO)_deploy)

# Debian's PACS and DICOM validator: what demo-deploy and the tests of deploy/ need beyond Python
DEBIAN = orthanc orthanc-dicomweb dicom3tools dcmtk
system-packages:  ## install Debian's Orthanc, dicom3tools and DCMTK where they are missing (as root, or by sudo)
	@missing=$$(for p in $(DEBIAN); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		sudo=$$([ "$$(id -u)" = 0 ] || command -v sudo || true); \
		if ! command -v apt-get >/dev/null || { [ "$$(id -u)" != 0 ] && [ -z "$$sudo" ]; }; then \
			echo "Please install these Debian packages as root:" $$missing >&2; exit 1; fi; \
		$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; \
		case "$$missing" in *orthanc*) $$sudo systemctl disable --now orthanc >/dev/null 2>&1 || true;; esac; \
	fi  # Debian would start a PACS for everyone; the demo runs one of its own

test: install lint typecheck  ## lint, types, and the tests that take under 15 minutes on two cores
	$(STACK); $(BIN)/python -m pytest -n 2 -m "not slow" --durations 10

test-all: install lint typecheck  ## all tests, the slow ones too
	$(STACK); $(BIN)/python -m pytest -n 2 --durations 20

lint: install  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install  ## let ruff mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: install  ## mypy
	$(BIN)/mypy

docs: install  ## run the examples of README.md and of every docstring
	$(BIN)/python -m pytest --doctest-modules infomri_monai transforms tests/test_readme.py

bench: install  ## speed and memory ratios, side by side, and the mask's gradient; results in benchmarks/results/
	$(BIN)/python benchmarks/poisson_speed.py
	$(BIN)/python benchmarks/transform_speed.py
	$(BIN)/python benchmarks/ged_speed.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/segmentation_speed.py
	$(BIN)/python benchmarks/mask_gradient.py
	$(BIN)/python benchmarks/kspace_statistics_speed.py
	$(BIN)/python benchmarks/marginal_entropy_speed.py
	$(BIN)/python benchmarks/deploy_timeline.py

clean:  ## remove what the chores made (not .venv)
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(DEMO) $(DEMO)_segmentation $(DEMO)_privacy $(DEMO)_deploy

.PHONY: help install demo demo-segmentation demo-privacy demo-deploy system-packages test test-all lint format typecheck docs bench clean
