# make demo               compress and restore a real scan, and compare with gzip NRRD
# make demo INPUT=path    the same for any NRRD, NIfTI, MHA or MHD file, .mcz file, or folder with a DICOM series
# make demo INPUT=folder SERIES=uid   one of several series in a DICOM folder
# make test               the whole test suite (TESTS="-k wavelet" for a part of it)
# make lint               style
# make types              types of the public face
# make benchmark DATA=folder   sizes and speeds of your own volumes, beside the standard codecs, in benchmark/
#                         (ARGUMENTS="--publish" makes the figures of README.md and docs/benchmark.md instead)
#
# Everything is installed into a virtual environment in .venv; nothing else on the machine changes.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
INPUT ?=
SERIES ?=
TESTS ?=
DATA ?= ../shared/data/public
ARGUMENTS ?=
# Test files are shared out among as many processes as there are processors.
WORKERS ?= -n logical --maxprocesses 4 --dist loadfile

RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint types benchmark

demo: $(VENV)/demo.installed
	@$(RUN) -m MedCompressLib demo $(if $(SERIES),--series "$(SERIES)") $(if $(INPUT),"$(INPUT)")

test: $(VENV)/test.installed
	QT_QPA_PLATFORM=offscreen $(RUN) -m pytest $(WORKERS) $(TESTS)

lint: $(VENV)/test.installed
	$(RUN) -m ruff check .

types: $(VENV)/test.installed
	$(RUN) -m mypy

benchmark: $(VENV)/benchmark.installed
	$(RUN) Testing/benchmark/run.py "$(DATA)" $(ARGUMENTS)

# Installing takes longer than anything else here, so it is done once for each pyproject.toml.
$(VENV)/%.installed: pyproject.toml | $(RUN)
	@echo "Installing what '$*' needs into $(VENV) ..."
	@$(PIP) --editable ".[$*]"
	@touch $@

$(RUN):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "MedCompress needs Python 3.11 or newer; say which with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -m venv "$(VENV)"
