# Everything a checkout needs; `make` alone lists it. Each target sets itself up.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
DATA ?=
OUT ?= demo
DEVELOPER = $(VENV)/.developer
RUNTIME = $(VENV)/.runtime
# One process more than there are cores, since some tests wait for servers and clusters. Each file of tests on one
# process, so that what its tests share is made once; in the order of their names, since the files of few tests,
# which otherwise come last, are those that take longest.
PYTEST = -n $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1))) --dist loadfile --no-loadscope-reorder
# The newest supported version beside this one (VERSIONS="3.12 3.13" tries those between too), and the tests of what
# needs no training framework, no server and no browser.
VERSIONS ?= 3.13
LIGHT = tests/stats tests/collection tests/audit tests/evaluation tests/model tests/screening

.PHONY: help test lint types versions format demo model notebook api language figures benchmarks pictures site release requirements clean

help:  ## Show what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(RUN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Dermsentry needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

# What a user of every command but the clinic's needs, and what a developer needs; one goes on top of the other.
$(RUNTIME): requirements/train.txt pyproject.toml | $(RUN)/python
	@echo "Installing what a user needs into $(VENV), 2.5 GB: a minute or two"
	$(RUN)/python -m pip install --quiet -r requirements/train.txt
	$(RUN)/python -m pip install --quiet --no-deps -e .
	touch $@

$(DEVELOPER): requirements/dev.txt pyproject.toml | $(RUN)/python
	@echo "Installing what a developer needs into $(VENV), some GB: a few minutes"
	$(RUN)/python -m pip install --quiet -r requirements/dev.txt
	$(RUN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

test: $(DEVELOPER) lint types  ## Style, types, import order, every test, and the newest version of Python
	$(RUN)/python -m pytest $(PYTEST)
	$(MAKE) --no-print-directory versions

versions: $(DEVELOPER)  ## The tests of the light runtime on the newest version of Python, if installed
	@for version in $(VERSIONS); do \
	  python=$$(for one in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
	    "$$one" -c "" 2>/dev/null && echo "$$one" && break; done); \
	  if test -z "$$python"; then echo "Python $$version is not installed here: not tested on it"; continue; fi; \
	  own=$(VENV)-$$version; \
  echo "Python $$version: installing what a developer needs into $$own, some GB: a few minutes the first time"; \
	  $(RUN)/uv venv --quiet --allow-existing --python "$$python" $$own && \
	  $(RUN)/uv pip install --quiet --python $$own/bin/python -r requirements/dev.txt && \
	  $(RUN)/uv pip install --quiet --python $$own/bin/python --no-deps --no-build-isolation -e . && \
	  $$own/bin/python -m pytest $(PYTEST) -p no:cacheprovider -m "not slow" $(LIGHT) || exit 1; \
	done

lint: $(DEVELOPER)  ## Style and the order of the layers
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports

types: $(DEVELOPER)  ## Strict types
	$(RUN)/mypy

format: $(DEVELOPER)  ## Format the code
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

demo: $(RUNTIME)  ## Every stage on synthetic images, or on DATA=FOLDER; under 4 minutes without data
	$(RUN)/dermsentry demo --out $(OUT) $(if $(DATA),--data "$(DATA)")

model: $(DEVELOPER)  ## Train the bundled model from DATA=FOLDER of its sets, with PyTorch; run it again to resume
	test -n "$(DATA)" || { echo "make model: set DATA to the folder of the sets (docs/how-to-train.md)"; exit 2; }
	$(RUN)/python -c 'import torch' || { echo "make model: install PyTorch in $(VENV) first (requirements/recipe.txt)"; exit 2; }
	$(RUN)/python -m recipes.dermoscopy "$(DATA)" runs/dermoscopy
	$(RUN)/python -m recipes.dermoscopy.leave_one_out "$(DATA)" runs/left_out recipe
	$(RUN)/python -m recipes.dermoscopy.claims runs/dermoscopy "$(DATA)" runs/dermoscopy/claims \
	    --left-out runs/left_out/leave_one_out.json
	rm -rf src/dermsentry/model/bundled/dermoscopy
	cp -r runs/dermoscopy/bundle src/dermsentry/model/bundled/dermoscopy
	cp runs/dermoscopy/claims/MODEL_CARD.md MODEL_CARD.md
	$(RUN)/python docs/make_figures.py "$(DATA)"

notebook: $(DEVELOPER)  ## Write notebooks/melanoma_detection.ipynb again, of synthetic photographs
	$(RUN)/python docs/make_notebook.py

api: $(DEVELOPER)  ## Write docs/api.md from the docstrings of the public API, docs/layouts.md from the layouts
	$(RUN)/python docs/make_api.py
	$(RUN)/python docs/make_layouts.py

language: $(DEVELOPER)  ## Take new messages of the clinic's pages into its languages, to be translated
	$(RUN)/python docs/make_language.py

figures: $(DEVELOPER)  ## Measure the figures that README and docs quote, with DATA=FOLDER of the sets, and write docs/figures.md
	$(RUN)/python docs/make_figures.py $(if $(DATA),"$(DATA)")

benchmarks: $(DEVELOPER)  ## How long importing, asking for help and the first finding take
	$(RUN)/python benchmarks/startup.py

pictures: $(DEVELOPER)  ## Retake the pictures of the worklist in the docs, of synthetic images
	$(RUN)/python docs/take_pictures.py

site: $(DEVELOPER)  ## The documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(RUN)/uv tool run --quiet --from mkdocs==1.6.1 --with mkdocs-material==9.8.2 mkdocs build

release: $(DEVELOPER)  ## Build, check and try the packages, in dist/
	rm -rf dist $(VENV)-release
	$(RUN)/uv build --quiet --out-dir dist
	$(RUN)/uv tool run --quiet twine==7.0.0 check --strict dist/*
	$(RUN)/uv tool run --quiet check-wheel-contents==0.6.3 dist/*.whl
	$(RUN)/uv venv --quiet --python $(RUN)/python $(VENV)-release
	$(RUN)/uv pip install --quiet --python $(VENV)-release/bin/python dist/*.whl
	$(RUN)/uv pip check --quiet --python $(VENV)-release/bin/python
	$(VENV)-release/bin/python -c 'import dermsentry; dermsentry.draw_phantoms("$(VENV)-release/phantoms")'
	$(VENV)-release/bin/dermsentry screen $(VENV)-release/phantoms/Test --format csv > $(VENV)-release/predictions.csv
	test $$(wc -l < $(VENV)-release/predictions.csv) -gt 30
	$(RUN)/uv pip install --quiet --python $(VENV)-release/bin/python "$$(echo dist/*.whl)[audit]"
	$(RUN)/uv pip check --quiet --python $(VENV)-release/bin/python
	$(VENV)-release/bin/dermsentry audit $(VENV)-release/phantoms > /dev/null || test $$? = 1  # defects are planted
	ls -l dist

requirements:  ## Pin what CI and `make demo` install
	for pair in base: audit:--extra=audit train:--extra=train-cpu clinic:--extra=clinic "dev:--extra=train-cpu --extra=clinic --extra=dev"; do \
	  $(RUN)/uv pip compile pyproject.toml $${pair#*:} --quiet --universal --python-version 3.11 --no-emit-index-url \
	    --no-annotate --custom-compile-command "make requirements" -o requirements/$${pair%%:*}.txt --upgrade; \
	done

clean:  ## Remove what can be made again
	rm -rf $(VENV) $(VENV)-release $(VERSIONS:%=$(VENV)-%) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
