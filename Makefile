# Two commands on a fresh machine: `make demo` and `make test`. Both make their own virtual environment first.
#   make demo    a small synthetic world, a model trained, tested and exported on it, and one HTML report
#   make test    every test            make lint   ruff and mypy            make lock   resolve the versions anew
#   make install only the environment  make clean  remove what these made
#   make test-mmdet3d   the bridge to mmdetection3d, in an environment of its own (mmcv compiles once a machine)
# Options: PYTHON=python3.11  VENV=.venv  JOBS=2  TEST_ARGS="-k grid"  DEMO_ARGS="--help"

SHELL := /bin/sh
VENV ?= .venv
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
JOBS ?= $(shell [ $(CORES) -lt 4 ] && echo $(CORES) || echo 4)
BIN := $(VENV)/bin
MMDET3D_VENV ?= .venv-mmdet3d
WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bevkit/wheels
# A new lock, set-up or place of the checkout means a new installation; otherwise the second call skips it.
STAMP := $(VENV)/.installed-$(shell { cat requirements/lock.txt setup.py pyproject.toml; pwd; } | cksum | tr ' ' '-')
TYPED := bevkit/checks.py bevkit/geometry bevkit/structures

# What surrounds the call must not leak into the virtual environment.
unexport PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-mmdet3d install-mmdet3d lint lock install clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/python -m bevkit.cli.main demo $(DEMO_ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) $(TEST_ARGS)

# The import comes first: a bridge that is broken must fail, where its tests would be skipped.
test-mmdet3d:
	@$(MAKE) --no-print-directory install VENV="$(MMDET3D_VENV)"
	@$(MAKE) --no-print-directory install-mmdet3d VENV="$(MMDET3D_VENV)"
	$(MMDET3D_VENV)/bin/python -c "import bevkit.interop.mmdet3d"
	OMP_NUM_THREADS=1 $(MMDET3D_VENV)/bin/python -m pytest -n $(JOBS) tests/interop $(TEST_ARGS)

# Adds to VENV what requirements/mmdet3d.txt says. mmcv has no wheel for current PyTorch: its operators are compiled for
# the CPU, and the wheel is kept for other checkouts, one for each pair of PyTorch and Python.
install-mmdet3d:
	@set -eu; python="$(BIN)/python"; list=requirements/mmdet3d.txt; \
	stamp="$(VENV)/.installed-mmdet3d-$$(cksum < $$list | tr ' ' '-')"; \
	if [ -e "$$stamp" ]; then exit 0; fi; \
	"$$python" -m pip install --quiet --no-deps -r $$list; \
	pair=$$("$$python" -c 'import sys, torch; print("torch%s-cp%d%d" % (torch.__version__, *sys.version_info[:2]))'); \
	mmcv=$$(sed -n 's/^# build: //p' $$list); kept="$(WHEELS)/$$pair/$$mmcv"; \
	if ! ls "$$kept"/*.whl >/dev/null 2>&1; then \
	    echo "compiling $$mmcv for $$pair: about a quarter of an hour on two cores"; mkdir -p "$$kept"; \
	    CUDA_VISIBLE_DEVICES= MMCV_WITH_OPS=1 MAX_JOBS=$(JOBS) PATH="$$(cd $(BIN) && pwd):$$PATH" "$$python" -m pip wheel \
	        --quiet --no-deps --no-build-isolation --wheel-dir "$$kept/new.$$$$" "$$mmcv"; \
	    mv "$$kept/new.$$$$"/*.whl "$$kept/"; rmdir "$$kept/new.$$$$"; fi; \
	"$$python" -m pip install --quiet --no-deps --force-reinstall "$$kept"/*.whl; \
	touch "$$stamp"

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy $(TYPED)

install: $(STAMP)

# The first Python that really runs (version managers leave names behind that do not) and can make environments.
$(STAMP): requirements/lock.txt setup.py pyproject.toml
	@set -eu; python="$(PYTHON)"; \
	works() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'; }; \
	if [ -z "$$python" ]; then for name in python3.11 python3.12 python3.10 python3 python; do \
	    if works $$name >/dev/null 2>&1; then python=$$name; break; fi; done; fi; \
	if [ -z "$$python" ]; then echo "bevkit needs Python 3.10, 3.11 or 3.12 with its venv module, and found none;" \
	    "install one (on Debian also python3-venv) or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; fi; \
	if ! works "$(BIN)/python" >/dev/null 2>&1; then echo "environment $(VENV) with $$($$python --version)"; \
	    "$$python" -m venv --clear "$(VENV)"; fi
	$(BIN)/python -m pip install --quiet -r requirements/lock.txt
	@# Both OpenCV packages hold the module cv2: let the one that needs no display libraries be written last.
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall "$$(grep '^opencv-python-headless==' requirements/lock.txt)"
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-*
	@touch $@

lock:
	python3 requirements/make_lock.py python3.10 python3.11 python3.12

clean:
	rm -rf $(VENV) $(MMDET3D_VENV) build dist bevkit.egg-info .pytest_cache .mypy_cache .ruff_cache work_dirs/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
