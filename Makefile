# Every chore is one documented command: `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo_output
DIST ?= dist
# a bundle is run from its own folder, as MONAI's users do
RUN = $(abspath $(BIN))/python -m monai.bundle run --meta_file configs/metadata.json --logging_file configs/logging.conf
# where the hospital's extra is installed, importing MONAI imports Holoscan, which wants this stack and warns without it
STACK = ulimit -s 32768 2>/dev/null || true
# waiting threads sleep instead of spinning: beside other work a training then takes its share, not many times as long
export OMP_WAIT_POLICY ?= PASSIVE
RUN_PYTHON = $(STACK); $(BIN)/python
IN_RECON = $(STACK); cd bundles/infomri_recon && $(RUN)
IN_SEGMENTATION = $(STACK); cd bundles/infomri_segmentation && $(RUN)
IN_PRIVACY = $(STACK); cd bundles/infomri_privacy_classification && $(RUN)
BUNDLES = infomri_recon infomri_segmentation infomri_privacy_classification
# a file for every set of dependencies that is installed; one set adds to another
CORE = $(VENV)/.installed-core
DEPLOY = $(VENV)/.installed-deploy
TEST = $(VENV)/.installed-test
DOCS = $(VENV)/.installed-docs
PIP = $(BIN)/python -m pip install --quiet -c constraints.txt

help:  ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(CORE): constraints.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(PIP) torch
	$(PIP) -e '.[bundle,embedded,figures]'
	touch $@

$(DEPLOY): $(CORE)
	$(PIP) -e '.[deploy,pacs]'
	touch $@

$(TEST): $(DEPLOY)
	$(PIP) -e '.[all,test]'
	touch $@

$(DOCS): $(TEST)
	$(PIP) -e '.[all,docs]'
	touch $@

install: $(CORE)  ## create .venv with what the demos need; the hospital's and the tests' dependencies come with their chores

demo: $(CORE)  ## train, evaluate and infer on embedded data; pictures and tables in demo_output/
	$(IN_RECON) --config_file "['configs/train.json']" --output_dir $(abspath $(DEMO)) --tracking mlflow
	$(IN_RECON) --config_file "['configs/train.json','configs/evaluate.json']" --output_dir $(abspath $(DEMO)) --tracking mlflow
	cp $(DEMO)/training.png $(DEMO)/evaluation/
	$(IN_RECON) --config_file configs/inference.json --output_dir $(abspath $(DEMO))/inference
	@echo; cat $(DEMO)/evaluation/rate_distortion.md; echo; echo "Pictures: $(DEMO)/evaluation/*.png, $(DEMO)/training.png"
	@echo "Tracking: $(BIN)/mlflow ui --backend-store-uri sqlite:///$(abspath $(DEMO))/mlruns.db"

demo-segmentation: $(CORE)  ## train, evaluate and infer segmentations on embedded data; in demo_output_segmentation/
	$(IN_SEGMENTATION) --config_file "['configs/train.json']" --output_dir $(abspath $(DEMO)_segmentation) --tracking mlflow
	$(IN_SEGMENTATION) --config_file "['configs/train.json','configs/evaluate.json']" --output_dir $(abspath $(DEMO)_segmentation) --tracking mlflow
	$(IN_SEGMENTATION) --config_file configs/inference.json --output_dir $(abspath $(DEMO)_segmentation)/inference \
		--model_path $(abspath $(DEMO)_segmentation)/model.pt --policy_path $(abspath $(DEMO)_segmentation)/policy.pt \
		--triage_path $(abspath $(DEMO)_segmentation)/triage.json
	@echo; cat $(DEMO)_segmentation/evaluation/segmentation.md; echo; echo "Pictures: $(DEMO)_segmentation/evaluation/*.png"
	@echo "Worklists: $(DEMO)_segmentation/evaluation/worklist.csv, $(DEMO)_segmentation/inference/worklist.csv"

demo-privacy: $(CORE)  ## train, evaluate, attack and classify on embedded data; in demo_output_privacy/
	$(IN_PRIVACY) --config_file "['configs/train.json']" --output_dir $(abspath $(DEMO)_privacy) --tracking mlflow
	$(IN_PRIVACY) --config_file "['configs/train.json','configs/evaluate.json']" --output_dir $(abspath $(DEMO)_privacy) --tracking mlflow
	$(IN_PRIVACY) --config_file "['configs/train.json','configs/audit.json']" --output_dir $(abspath $(DEMO)_privacy) --tracking mlflow \
		--attack_steps 200 --attack_val_interval 40
	$(IN_PRIVACY) --config_file configs/inference.json --output_dir $(abspath $(DEMO)_privacy)/inference \
		--model_path $(abspath $(DEMO)_privacy)/model.pt --policy_path $(abspath $(DEMO)_privacy)/policy.pt
	@echo; cat $(DEMO)_privacy/evaluation/classification.md; echo; cat $(DEMO)_privacy/audit/report.md
	@echo "Pictures: $(DEMO)_privacy/evaluation/*.png, $(DEMO)_privacy/audit/*.png; report of cases: $(DEMO)_privacy/inference/report.csv"

demo-deploy: $(DEPLOY) system-packages  ## send a study to a PACS, segment it, find the result there; in demo_output_deploy/
	$(RUN_PYTHON) examples/hospital_demo.py --output $(abspath $(DEMO)_deploy)

# Debian's PACS and DICOM validator: what demo-deploy and the tests of deploy/ need beyond Python
DEBIAN = orthanc orthanc-dicomweb dicom3tools dcmtk socat
system-packages:  ## install Debian's Orthanc, dicom3tools, DCMTK and socat where they are missing (as root, or by sudo)
	@missing=$$(for p in $(DEBIAN); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		sudo=$$([ "$$(id -u)" = 0 ] || command -v sudo || true); \
		if ! command -v apt-get >/dev/null || { [ "$$(id -u)" != 0 ] && [ -z "$$sudo" ]; }; then \
			echo "Please install these Debian packages as root:" $$missing >&2; exit 1; fi; \
		$$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; \
		case "$$missing" in *orthanc*) $$sudo systemctl disable --now orthanc >/dev/null 2>&1 || true;; esac; \
	fi  # Debian would start a PACS for everyone; the demo runs one of its own

test: $(TEST) lint typecheck  ## lint, types, and the tests that take under 15 minutes on two cores
	$(RUN_PYTHON) -m pytest -n 2 -m "not slow" --durations 10

test-all: $(TEST) lint typecheck  ## all tests, the slow ones too
	$(RUN_PYTHON) -m pytest -n 2 --durations 20

lint: $(TEST)  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(TEST)  ## let ruff mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(TEST)  ## mypy
	$(BIN)/mypy

doctest: $(TEST)  ## run the examples of README.md and of every docstring
	$(RUN_PYTHON) -m pytest --doctest-modules infomri_monai transforms tests/test_readme.py

docs: $(DOCS)  ## build the documentation site in site/, its gallery executed; warnings are errors
	$(STACK); NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

wheel: $(TEST)  ## build the wheel and the source archive in dist/
	$(BIN)/python -m build --no-isolation --outdir $(DIST) . >/dev/null
	@ls $(DIST)/*.whl

test-wheel: $(TEST)  ## build the wheel, install it outside the checkout, and use it there
	$(RUN_PYTHON) -m pytest -n 0 tests/packaging --durations 5

bundles:  ## the committed bundles as archives that `python -m monai.bundle download --url` unpacks, in dist/
	@mkdir -p $(DIST); for bundle in $(BUNDLES); do \
		version=$$($(PYTHON) -c "import json; print(json.load(open('bundles/$$bundle/configs/metadata.json'))['version'])"); \
		git archive --format zip --prefix $$bundle/ --output $(DIST)/$${bundle}_v$$version.zip HEAD:bundles/$$bundle || exit 1; \
		echo $(DIST)/$${bundle}_v$$version.zip; done

report: $(CORE)  ## write docs/results and the tables of README and bundles' pages from benchmarks/results/*.json
	$(RUN_PYTHON) benchmarks/report.py

bench: $(TEST)  ## speed and memory ratios, side by side, and the mask's gradient; results in benchmarks/results/
	$(RUN_PYTHON) benchmarks/import_time.py
	$(RUN_PYTHON) benchmarks/poisson_speed.py
	$(RUN_PYTHON) benchmarks/transform_speed.py
	$(RUN_PYTHON) benchmarks/ged_speed.py
	$(RUN_PYTHON) benchmarks/training_step.py
	$(RUN_PYTHON) benchmarks/segmentation_speed.py
	$(RUN_PYTHON) benchmarks/mask_gradient.py
	$(RUN_PYTHON) benchmarks/matrix_size.py
	$(RUN_PYTHON) benchmarks/kspace_statistics_speed.py
	$(RUN_PYTHON) benchmarks/marginal_entropy_speed.py
	$(RUN_PYTHON) benchmarks/deploy_timeline.py
	$(RUN_PYTHON) benchmarks/report.py

clean:  ## remove what the chores made (not .venv)
	rm -rf build $(DIST) site docs/gallery examples/gallery/.hypothesis *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis $(DEMO) $(DEMO)_segmentation $(DEMO)_privacy $(DEMO)_deploy

.PHONY: help install demo demo-segmentation demo-privacy demo-deploy system-packages test test-all test-wheel lint format typecheck report \
	doctest docs wheel bundles bench clean
