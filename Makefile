# `make help` lists the targets. Every target makes .venv first if it is missing or older than the lock.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# ---- settings, e.g. make run SIZE=tiny or make serve PORT=9000 ---------------------------------

SIZE ?= sample#           of the synthetic sample: tiny, sample, full (hm_utils.sample)
DATA_DIR ?=#              folder of the raw tables; empty: data/raw if it has any, else the sample
ARTIFACTS_DIR ?= artifacts#  everything a run writes
PARAMS ?=#                for the pipeline, e.g. "-p num_epochs 5 -p test_days 7"
EPOCHS ?= 0#              of training in `make update`
MODEL ?= $(ARTIFACTS_DIR)/model#  what `make serve` serves
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1#             processes of `make serve`
PYTEST_ARGS ?=#           e.g. "-k metrics -x"
BENCH_ARGS ?=#            of `python -m benchmarks.quality`, e.g. "--only ours baselines --json out.json"
SPEED_ARGS ?=#            of `python -m benchmarks.all`, e.g. "--only reading growth"
TORCH ?= 2.13.0#          the release that `make lock` pins, with the next line's hashes
# Of its CPU builds for Linux, from PyTorch's own index: x86_64 and aarch64, each for Python 3.11, 3.12 and 3.13.
TORCH_CPU := \
  6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b \
  4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2 \
  3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6 \
  84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7 \
  6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604 \
  0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d

HELD_BACK := "soupsieve<3"#  in the locks: later ones need Python 3.11.5, and Debian 12 has 3.11.2
PYTHONS ?= python3.11 python3.12 python3.13 python3 python#  the first that will do makes .venv

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PEERS_VENV := .venv-peers
PEERS_STAMP := $(PEERS_VENV)/.installed
TFRS_VENV := .venv-tfrs
TFRS_STAMP := $(TFRS_VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-benchmarks
CLUSTER_STAMP := $(VENV)/.installed-cluster
RAW := $(filter-out data/raw/images,$(wildcard data/raw/*))#  whatever it is: the reader names what it cannot use
SAMPLE := data/sample/.made-$(SIZE)
ifneq ($(strip $(DATA_DIR)),)
  DATA := $(DATA_DIR)
else ifneq ($(RAW),)
  DATA := data/raw
else
  DATA := data/sample
  NEEDS_SAMPLE := $(SAMPLE)
endif

# pip installs without compiling and Python compiles what it first imports: 80 s sooner, but only if it may write that.
unexport PYTHONDONTWRITEBYTECODE

# ---- targets -----------------------------------------------------------------------------------

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(STAMP) $(NEEDS_SAMPLE)  ## Run the four notebooks and publish a model (DATA_DIR=, ARTIFACTS_DIR=, PARAMS="-p name value", SIZE=)
	@$(if $(NEEDS_SAMPLE),echo "data/raw has no tables: running on the synthetic sample in data/sample.")
	$(PY) -m hm_utils.pipeline --data-dir "$(DATA)" --artifacts-dir "$(ARTIFACTS_DIR)" $(PARAMS)

.PHONY: test
test: lint $(CLUSTER_STAMP)  ## Run every check: lint, types, tests (PYTEST_ARGS=)
	$(PY) -m pytest -m "not cluster" -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

.PHONY: test-cluster
test-cluster: $(CLUSTER_STAMP)  ## Run the tests that start Ray (PYTEST_ARGS=)
	$(PY) -m pytest -m cluster $(PYTEST_ARGS)

.PHONY: serve
serve: $(STAMP)  ## Serve the published model on http://localhost:8000 (ARTIFACTS_DIR= or MODEL=, HOST=, PORT=, WORKERS=)
	@test -e "$(MODEL)" || { echo "There is no model at $(MODEL): publish one with \`make run\`, or say where it is with MODEL=…" >&2; exit 1; }
	HM_MODEL="$(MODEL)" $(PY) -m app --host $(HOST) --port $(PORT) --workers $(WORKERS)

.PHONY: update
update: $(STAMP)  ## Publish the model again with newer purchases, without training (DATA_DIR=, ARTIFACTS_DIR=, EPOCHS=)
	$(PY) -m hm_utils.update --data-dir "$(DATA)" --artifacts-dir "$(ARTIFACTS_DIR)" --epochs $(EPOCHS)

.PHONY: lab
lab: $(STAMP)  ## Open the notebooks in JupyterLab
	$(PY) -m jupyterlab --notebook-dir . --LabApp.default_url=/lab/tree/notebooks

.PHONY: reports
reports: $(STAMP)  ## Write the latest run's reports into docs/reports, as Markdown that a code host displays (ARTIFACTS_DIR=)
	$(PY) -m hm_utils.pipeline.markdown_reports "$(ARTIFACTS_DIR)/runs" docs/reports

.PHONY: sample
sample: $(SAMPLE)  ## Make the synthetic sample in data/sample (SIZE=tiny, sample or full)

.PHONY: lint
lint: $(CLUSTER_STAMP)  ## Check style and types, notebooks too
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/codespell
	$(PY) -m mypy

.PHONY: format
format: $(STAMP)  ## Mend the style, and strip the notebooks of outputs
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .
	$(PY) -m nbstripout --keep-id --extra-keys "metadata.papermill metadata.widgets cell.metadata.papermill cell.metadata.execution" notebooks/*.ipynb

.PHONY: bench
bench: $(STAMP)  ## Measure how fast every stage is, beside other ways (takes long; SIZE=, SPEED_ARGS=)
	$(PY) -m benchmarks.all --size $(SIZE) --model "$(MODEL)" $(SPEED_ARGS)

.PHONY: bench-quality
bench-quality: $(STAMP) $(PEERS_STAMP) $(NEEDS_SAMPLE)  ## Measure how good the model is, also without each part and beside other projects' (takes long; DATA_DIR=, BENCH_ARGS=)
	$(PY) -m benchmarks.quality --data-dir "$(DATA)" $(BENCH_ARGS)

.PHONY: bench-env
bench-env: $(PEERS_STAMP) $(TFRS_STAMP) $(BENCH_STAMP)  ## Install what the benchmarks compare with: .venv-peers, .venv-tfrs, and more in .venv

.PHONY: cluster-env
cluster-env: $(CLUSTER_STAMP)  ## Install what a run on many machines needs (Ray), beside the rest in .venv

.PHONY: lock
lock:  ## Write the three locks anew: the newest versions that pyproject.toml allows
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; $(find_python); \
	"$$python" -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/pip" install --upgrade --no-compile "torch==$(TORCH)" $(HELD_BACK) setuptools ".[notebooks,serve,onnx,dev]"; \
	frozen() { \
	  "$$tmp/$${1:-venv}/bin/pip" freeze --all --exclude pip --exclude hm-two-tower \
	  | sed -E -e '/^(nvidia-|cuda-|triton)/d' -e 's/^(torch==[^+]*)\+.*/\1/'; \
	}; \
	frozen > "$$tmp/requirements.lock"; \
	"$$python" -m venv "$$tmp/serve"; \
	"$$tmp/serve/bin/pip" install --no-compile --constraint "$$tmp/requirements.lock" setuptools ".[serve]"; \
	frozen serve > "$$tmp/requirements-serve.lock"; \
	"$$tmp/venv/bin/pip" install --no-compile --constraint "$$tmp/requirements.lock" ".[cluster]"; \
	frozen | grep -vxFf "$$tmp/requirements.lock" > "$$tmp/requirements-cluster.lock"; \
	"$$python" -m venv "$$tmp/uv"; "$$tmp/uv/bin/pip" install --quiet uv; \
	printf '    --hash=sha256:%s \\\n' $(TORCH_CPU) > "$$tmp/torch-cpu"; \
	for lock in requirements.lock requirements-serve.lock requirements-cluster.lock; do \
	  { sed '/^[^#]/,$$d' $$lock; \
	    "$$tmp/uv/bin/uv" pip compile --quiet --python "$$python" --no-deps --generate-hashes --no-header --no-annotate "$$tmp/$$lock" \
	    | sed -E -e "/^torch==/r $$tmp/torch-cpu" \
	        -e "s/^(scann==[^ ]+)/\1 ; sys_platform == 'linux' and (platform_machine == 'x86_64' or platform_machine == 'aarch64')/"; \
	  } > "$$tmp/hashed"; \
	  cp "$$tmp/hashed" $$lock; \
	done; \
	echo "requirements.lock: $$(grep -c == requirements.lock) packages, and $$(grep -c == requirements-cluster.lock) for a cluster."

.PHONY: sbom
sbom: $(STAMP)  ## List the packages in .venv: artifacts/sbom.json (CycloneDX) and artifacts/licences.md
	@tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	$(PY) -m venv "$$tools"; "$$tools/bin/pip" install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 pip-licenses==5.5.5; \
	"$$tools/bin/cyclonedx-py" environment $(PY) --output-file artifacts/sbom.json; \
	"$$tools/bin/pip-licenses" --python $(PY) --format markdown --output-file artifacts/licences.md

.PHONY: clean
clean:  ## Remove the environments, caches and the sample (never data/raw or artifacts)
	rm -rf $(VENV) .venv-3.* $(PEERS_VENV) $(TFRS_VENV) data/sample build ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- files -------------------------------------------------------------------------------------

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# FORCE for an installed environment whose Python is gone, or another one that does not see its packages.
lost = $(if $(wildcard $(1)/.installed),$(if $(shell $(1)/bin/python -c 'import pip; $(FITS)' 2>/dev/null && echo fits),,FORCE))
.PHONY: FORCE

# Sets $$python to the first that will do, 3.11 before newer ones as it is the version that is tested most.
define find_python
python=""; \
for candidate in $(PYTHONS); do \
  if "$$candidate" -c '$(FITS)' 2>/dev/null; then \
    python="$$candidate"; break; \
  fi; \
done; \
if [ -z "$$python" ]; then \
  echo "Python 3.11, 3.12 or 3.13 is needed and none is on the PATH. Install one, or use conda: conda env create -f environment.yml" >&2; \
  exit 1; \
fi
endef

# The path is relative to the environment, so a copied or moved checkout runs its own code.
LINK := import os, sysconfig; site = sysconfig.get_path("purelib"); \
  open(os.path.join(site, "checkout.pth"), "w").write(os.path.relpath(os.getcwd(), site))

# torch from a folder that PIP_FIND_LINKS names. pip prefers files whose hash an index tells, and would download it.
FROM_FOLDER := sed -n '/^torch==/,/[^\\]$$/p' requirements.lock \
  | $(PY) -m pip install --quiet --no-index --no-compile --require-hashes --no-deps -r /dev/stdin

$(STAMP): requirements.lock pyproject.toml Makefile $(call lost,$(VENV))
	@if ! $(PY) -c 'import pip; $(FITS)' 2>/dev/null; then \
	  $(find_python); \
	  test ! -e $(VENV) || echo "$(VENV) has no Python 3.11 to 3.13: making it anew."; \
	  "$$python" -m venv --clear $(VENV); \
	fi
	@echo "Installing requirements.lock into $(VENV): one to three minutes."
	@$(FROM_FOLDER) 2>/dev/null || true
	@$(PY) -m pip install --disable-pip-version-check --no-compile --require-hashes --no-deps $$(test -t 2 || echo --quiet) -r requirements.lock
	@$(PY) -m pip install --disable-pip-version-check --quiet torch  # the libraries of a GPU build, which no lock has
	@$(PY) -m pip uninstall --disable-pip-version-check --quiet --yes hm-two-tower 2>/dev/null
	@$(PY) -c '$(LINK)'
	@touch $@

$(PEERS_STAMP): benchmarks/peers-requirements.txt $(call lost,$(PEERS_VENV))
	@if ! $(PEERS_VENV)/bin/python -c 'import pip; $(FITS)' 2>/dev/null; then \
	  $(find_python); \
	  "$$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { echo "The peers need Python 3.11 or 3.12, and $$python is the only one on the PATH that will do for the rest." >&2; exit 1; }; \
	  "$$python" -m venv --clear $(PEERS_VENV); \
	fi
	@echo "Installing $< into $(PEERS_VENV): one to three minutes."
	@$(PEERS_VENV)/bin/python -m pip install --disable-pip-version-check --no-compile $$(test -t 2 || echo --quiet) -r $<
	@touch $@

$(TFRS_STAMP): benchmarks/tfrs-requirements.txt $(call lost,$(TFRS_VENV))
	@if ! $(TFRS_VENV)/bin/python -c 'import pip; $(FITS)' 2>/dev/null; then $(find_python); "$$python" -m venv --clear $(TFRS_VENV); fi
	@echo "Installing $< into $(TFRS_VENV): one to three minutes."
	@$(TFRS_VENV)/bin/python -m pip install --disable-pip-version-check --no-compile --no-deps $$(test -t 2 || echo --quiet) -r $<
	@touch $@

$(BENCH_STAMP): benchmarks/requirements.txt $(STAMP)
	@$(PY) -m pip install --disable-pip-version-check --no-deps $$(test -t 2 || echo --quiet) -r $<
	@touch $@

$(CLUSTER_STAMP): requirements-cluster.lock $(STAMP)
	@echo "Installing requirements-cluster.lock into $(VENV): less than a minute."
	@$(PY) -m pip install --disable-pip-version-check --no-compile --require-hashes --no-deps $$(test -t 2 || echo --quiet) -r $<
	@touch $@

$(SAMPLE): $(wildcard hm_utils/sample/*.py) | $(STAMP)
	@rm -f data/sample/.made-*
	$(PY) -m hm_utils.sample --out data/sample --size $(SIZE)
	@touch $@
