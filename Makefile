# Everything a checkout needs; `make` alone lists it. Each target sets itself up.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
DATA ?=
OUT ?= demo
SET_UP = $(VENV)/.installed

.PHONY: help test lint types format demo model notebook benchmarks pictures requirements clean

help:  ## Show what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(SET_UP): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Dermsentry needs Python 3.11 or later; set PYTHON=")'
	test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet -r requirements/dev.txt
	$(RUN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

test: $(SET_UP) lint types  ## Style, types, import order, and every test
	$(RUN)/python -m pytest

lint: $(SET_UP)  ## Style and the order of the stages
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports

types: $(SET_UP)  ## Strict types
	$(RUN)/mypy

format: $(SET_UP)  ## Bring the code into style
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

demo: $(SET_UP)  ## The whole path on phantoms, or on DATA=FOLDER; under 4 minutes without data
	$(RUN)/dermsentry demo --out $(OUT) $(if $(DATA),--data "$(DATA)")

model: $(SET_UP)  ## Make the bundled model anew from DATA=FOLDER of its sets; hours, goes on where it stopped
	test -n "$(DATA)" || { echo "make model: set DATA to the folder of the sets (docs/how-to-train.md)"; exit 2; }
	$(RUN)/python -m recipes.dermoscopy "$(DATA)" runs/dermoscopy
	$(RUN)/python -m recipes.dermoscopy.claims runs/dermoscopy "$(DATA)" runs/dermoscopy/claims
	rm -rf src/dermsentry/model/bundled/dermoscopy
	cp -r runs/dermoscopy/bundle src/dermsentry/model/bundled/dermoscopy
	cp runs/dermoscopy/claims/MODEL_CARD.md MODEL_CARD.md

notebook: $(SET_UP)  ## The assignment as a notebook, in JupyterLab
	$(RUN)/python -m pip install --quiet jupyterlab
	$(RUN)/jupyter lab notebooks/melanoma_detection.ipynb

benchmarks: $(SET_UP)  ## Every benchmark that needs no photographs
	$(RUN)/python benchmarks/startup.py

pictures: $(SET_UP)  ## The pictures of the worklist that the docs show, taken anew of drawn photographs
	$(RUN)/python docs/take_pictures.py

requirements:  ## Pin what CI and the demo install
	for pair in base: train:--extra=train clinic:--extra=clinic "dev:--extra=train --extra=clinic --extra=dev"; do \
	  $(RUN)/uv pip compile pyproject.toml $${pair#*:} --quiet --universal --python-version 3.11 --no-emit-index-url \
	    --no-annotate --custom-compile-command "make requirements" -o requirements/$${pair%%:*}.txt --upgrade; \
	done

clean:  ## Remove what can be made again
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
