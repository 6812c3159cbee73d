# Two commands for a fresh machine: `make demo` and `make test`. Both build .venv once.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCHMARKS := amrb bridge data macro model networks streaming working_memory

.PHONY: help demo test test-slow lint install bench clean

help:            ## show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/'

demo: $(STAMP)   ## simulate, fit, train, deploy; report in runs/demo/report.html
	$(BIN)/rmaat demo --out runs/demo

test: lint       ## ruff, mypy and the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

test-slow: $(STAMP) ## the slow checks (minutes; data sets from RMAAT_DATA or ../shared/data)
	$(BIN)/python -m pytest -m slow -q --timeout 1800

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)  ## the benchmarks beside the peers that are installed; one JSON each in runs/bench
	set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py; done

install: $(STAMP) ## build .venv only

# lava-nc's metadata refuses Python 3.11 and numpy 2, although it runs there: a second step without its bounds.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 13), sys.version' 2>/dev/null || \
	  { echo "rmaat needs Python 3.11 or 3.12; found '$(PYTHON)'. Name one with: make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "could not create $(VENV); on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python lava-nc==0.10.0
	@touch $(STAMP)

clean:           ## remove .venv and what runs wrote
	rm -rf $(VENV) runs build *.egg-info
