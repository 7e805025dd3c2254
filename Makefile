# The commands people type. Each sets up what it needs; nothing but Python 3.11+ and make is assumed.
PYTHON ?= python3
BIN := .venv/bin
DISTRIBUTIONS := $(patsubst %/pyproject.toml,%,$(wildcard core/pyproject.toml plugins/*/pyproject.toml stem2sim_*/pyproject.toml))
# abTEM brings 900 MB with it: its plugin is checked, and installed by those who want it
INSTALLED := $(filter-out plugins/stem2sim_abtem,$(DISTRIBUTIONS)) docs/example_plugin
SOURCES := core/stem2sim $(foreach folder,$(filter-out core,$(DISTRIBUTIONS)),$(folder)/$(notdir $(folder))) \
           docs/example_plugin/stem2sim_peaks.py docs/demo/make_frame.py benchmarks
DEVELOPMENT := ase-db-backends custodian hatchling hypothesis import-linter jsonschema mypy openvino playwright pymatgen pytest pytest-xdist rosettasciio ruff
READY := .venv/ready

.PHONY: demo test lint types bench clean

demo: $(READY)
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

$(READY): constraints.txt pyproject.toml $(addsuffix /pyproject.toml,$(INSTALLED))
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stem2sim needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt $(addprefix -e ,$(INSTALLED)) $(DEVELOPMENT)
	touch $(READY)
