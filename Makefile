# The README's commands.  Each sets up what it needs, and is quick when nothing changed.
# The newest Python here that fits: a name may be there and not run (pyenv), so each is asked.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
FOUND = $(or $(PYTHON),false) -c '$(FITS)' 2>/dev/null || { echo "No Python 3.11 to 3.13 (PYTHON=$(PYTHON)): install one (Debian: python3 python3-venv), or name it with PYTHON="; exit 1; }
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# git's filter for notebooks/*.ipynb (.gitattributes); where either file is missing, notebooks are taken as they are.
FILTER := lpgnet/machine/clean_notebook.py
CLEAN := if test -x $(BIN)/python && test -f $(FILTER); then $(BIN)/python $(FILTER); else cat; fi
export PYTHONHASHSEED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# What `tables --from` and `compare` import, at the lock's versions: no torch.
REVIEW := jinja2 joblib latex2mathml matplotlib numpy pandas pyarrow pydantic scikit-learn scipy seaborn tabulate typer

.PHONY: tables env reproduce reference beyond test lab mutants bench planted lock clean

tables:  ## In a minute, without torch: the tables and figures of the committed run, docs/reference/
	@test -x .venv-tables/bin/python || { $(FOUND); $(PYTHON) -m venv .venv-tables; }
	.venv-tables/bin/python -m pip install --quiet -c requirements.lock $(REVIEW)
	.venv-tables/bin/python -m lpgnet tables --from docs/reference/simulated.zip

reproduce: env  ## Tables 1-7 on the simulated corpus: data, features, all runs, tables, figures, HTML
	$(BIN)/python -m lpgnet reproduce

reference: env  ## From a finished reproduce: the run that others are compared with, docs/reference/simulated.zip
	$(BIN)/python -m lpgnet bundle --reference --out docs/reference/simulated.zip

beyond: env  ## Notebook 07: every other reading of the paper, and what context is, on the simulated corpus
	$(BIN)/python -m lpgnet reproduce --only 01,07 --seeds 5

test: env  ## Lint, all tests, and a small run of every notebook
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n 2 --dist loadfile

env: $(READY)  ## Only the virtual environment, from the lock; and outputs of notebooks stay out of git
	@test ! -e .git || git config filter.lpgnet-notebook.clean '$(CLEAN)'

$(READY): requirements.lock pyproject.toml
	@$(FOUND)
	@echo "Setting up $(VENV) from requirements.lock: about 3 GB, two to three minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3-venv is missing (Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $@

lab: env  ## JupyterLab on the notebooks, the start page open
	$(BIN)/jupyter lab notebooks/00_start.ipynb --FileContentsManager.post_save_hook=lpgnet.machine.clean_notebook.saved

mutants: env  ## Delete each statement of model.py and losses.py; a test must notice
	$(BIN)/python tests/mutants.py

bench: env  ## Speed and memory, as ratios measured in one run
	$(BIN)/python tests/bench.py

fuzz: env  ## Damaged files for every reader of other people's files, twenty times as many as in the tests
	$(BIN)/python tests/fuzz.py --examples 500

planted: env  ## Twenty corpora in which nothing is there, twenty in which something is: writes docs/planted.md
	$(BIN)/python tests/planted.py

gpu: env  ## On a CUDA machine: seconds of the paper's size by model, against a padded loop and the CPU
	$(BIN)/python tests/gpu.py

lock: env  ## Pin anew what pyproject.toml asks for, for every Python that fits, here and in environment.yml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --fork-strategy fewest --extra sim --extra dask --extra meld --extra whisper --extra asr --extra onnx --extra test --strip-extras \
		--no-annotate --no-header --output-file requirements.lock pyproject.toml
	@# What a GPU build of torch brings, and other systems' packages, go; of the conditions only those on Python stay.
	sed -i -E -e 's/\+cpu//' -e '/^(nvidia-|cuda-|triton)/d' -e "/== '(darwin|win32|emscripten|nt)'/d" -e "/python_/!s/ ;.*//" requirements.lock
	{ sed '/- pip:/q' environment.yml; sed 's/^/      - /' requirements.lock; echo '      - -e .'; } > environment.new
	mv environment.new environment.yml

clean:  ## Everything that was made; the environment stays
	rm -rf data
	find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
