# make demo   the whole study on drawn phantoms, in demo/
# make test   lint and all tests
# make test-cuda12  the unit tests with the PyTorch for older GPUs
# make test-slurm  the study and a cluster's faults on a private SLURM; 50 minutes
# make env    the environment that snakemake runs in: .venv
# make report results/report.zip of the real study
# make sign   signs results/ with your SSH key [KEY=FILE]
# make archive results.zip to publish, without X-rays [ARCHIVE=FILE]
# make verify whether results/ are what their sidecars say, or a zip is [ARCHIVE=FILE] [SIGNERS=FILE]
# make lock   pins of the environments anew, from envs/*.in

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
# A Python that the pins of the controller are for.
IS_KNOWN := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
  if $$python -c '$(IS_KNOWN)' 2> /dev/null; then command -v $$python; break; fi; done)
SNAKEMAKE := .venv/bin/snakemake
# Heatmaps take longest after training: first the net that they are of.
DEMO := --directory demo --prioritize results/netC/heatmaps/heatmaps.csv \
  --configfile config/demo.yaml
python_of = .venvs/$(1)-$(shell sha256sum envs/$(1).txt | cut -c1-12)/bin/python

# Variables of the user's Python and pip that would put packages elsewhere, or other ones in their place.
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONSTARTUP
unexport PIP_PREFIX PIP_ROOT PIP_TARGET PIP_USER

.PHONY: env demo report sign archive verify test test-cuda12 test-slurm lint lock

env: .venv/.complete

.venv/.complete: envs/controller.txt
	@if [ -z "$(PYTHON)" ]; then \
	  command -v uv > /dev/null || { echo "error: no Python 3.11 to 3.14 on PATH: install uv," \
	    "which brings Python, or set PYTHON=..." >&2; exit 1; }; \
	  uv venv --clear --python 3.11 .venv; \
	  uv pip install --python .venv/bin/python --require-hashes --requirement $<; \
	elif $(PYTHON) -c '$(IS_KNOWN)'; then \
	  $(PYTHON) -m venv --clear .venv; \
	  .venv/bin/python -m pip install --quiet --require-hashes --requirement $<; \
	else echo "error: $(PYTHON) is not Python 3.11 to 3.14; set PYTHON=..." >&2; exit 1; fi
	@.venv/bin/python -E -s -c 'import snakemake, uv' \
	  || { echo "error: pip put the packages elsewhere: see pip config list" >&2; exit 1; }
	touch $@

demo: env
	@$(SNAKEMAKE) all $(DEMO) $$([ ! -t 2 ] || echo --logger rich)
	@if [ ! -e demo/results/report.zip ] || [ -n "$$(find demo/results -newer \
	  demo/results/report.zip -name '*.csv' -o -newer demo/results/report.zip -name '*.svg')" ]; \
	then $(SNAKEMAKE) all --report results/report.zip $(DEMO); \
	  rm -rf demo/report; .venv/bin/python -m zipfile -e demo/results/report.zip demo; fi
	@.venv/bin/python workflow_scripts/headline.py --results demo/results --report demo/report/report.html

report: env
	$(SNAKEMAKE) all --report results/report.zip

sign:
	$(call python_of,torch) workflow_scripts/sign_results.py $(if $(KEY),--key "$(KEY)")

archive:
	$(call python_of,torch) workflow_scripts/archive_results.py $(if $(ARCHIVE),--out "$(ARCHIVE)")

verify:
	$(call python_of,torch) workflow_scripts/verify_results.py $(if $(ARCHIVE),--archive "$(ARCHIVE)") \
	  $(if $(SIGNERS),--signers "$(SIGNERS)")

# The unit tests with the PyTorch of `pytorch: cuda12`, on the CPU.
test-cuda12: export TORCH_PYTHON = $(call python_of,torch_cuda12)
test-cuda12: env
	$(SNAKEMAKE) environments --quiet --config pytorch=cuda12
	$(TORCH_PYTHON) -m pytest --ignore tests/test_workflow.py --ignore tests/test_slurm.py

lint: env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/snakefmt --check Snakefile workflow rules
	$(SNAKEMAKE) --lint

test: export TORCH_PYTHON = $(call python_of,torch)
test: export KERAS_PYTHON = $(call python_of,keras)
test: lint
	$(SNAKEMAKE) environments --quiet
	$(TORCH_PYTHON) -m pytest --ignore tests/test_workflow.py --ignore tests/test_slurm.py
	$(KERAS_PYTHON) -m pytest tests/test_relevance.py
	.venv/bin/python -m pytest tests/test_pages.py tests/test_workflow.py

test-slurm: env
	$(SNAKEMAKE) environments --quiet
	.venv/bin/python -m pytest tests/test_slurm.py

lock: env
	for name in controller torch torch_cuda12 keras; do \
	  platform="--python-platform x86_64-manylinux_2_28"; \
	  [ $$name != controller ] || platform=--universal; \
	  .venv/bin/uv pip compile --quiet --no-header --generate-hashes --no-emit-index-url \
	    --override envs/overrides.txt --no-emit-find-links --python-version 3.11 $$platform \
	    envs/$$name.in -o envs/$$name.txt; done
	for name in torch torch_cuda12 keras; do { \
	  echo "# The pins of $$name.txt for conda users (--sdm conda); written by make lock."; \
	  printf '%s\n' channels: '  - conda-forge' dependencies: '  - python =3.11' '  - pip' \
	    '  - pip:'; \
	  sed -nE 's/^([A-Za-z0-9._-]+==[^ ;]+).*/      - \1/p' envs/$$name.txt; } \
	  > envs/$$name.yaml; done
