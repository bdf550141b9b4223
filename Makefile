PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT := apt-get -o DPkg::Lock::Timeout=300

PYTEST := $(BIN)/python -m pytest -m "not matrix and not chaos" -n logical --dist worksteal
# What coverage is asked of; it costs time. Those left out train in processes of their own, or add
# nothing to it.
UNCOUNTED := web_% cli% studio% chaos worker demo processes parity footprint plan_parts said jobs \
  resume adapter_types concepts
TRAINING := $(filter-out $(UNCOUNTED:%=tests/test_%.py), \
  $(shell grep -lE 'loraloom(\.| import )(train|adapters)\b' tests/test_*.py))

.PHONY: install demo test matrix chaos texts bench clean

install: $(VENV)/.installed

demo: install
	$(BIN)/loraloom demo --out out/demo

test: install test-system
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) $(filter-out $(TRAINING),$(wildcard tests/test_*.py))
	$(PYTEST) $(TRAINING) --cov --cov-report=term:skip-covered
	$(BIN)/coverage report --include='*/loraloom/train/*,*/loraloom/adapters/*' --fail-under=90

matrix: install
	$(BIN)/python -m pytest -m matrix -n logical

chaos: install
	$(BIN)/python -m pytest -m chaos -s

texts: install
	$(BIN)/python assets/texts.py

bench: install
	$(BIN)/python -m bench.steps --model starter --batch 1,2,4,8
	$(BIN)/python -m bench.steps --model sd15 --px 256 --batch 1,4

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .coverage

# torch goes first and pinned, so that nothing else chooses its version. PyPI's build for Linux
# brings CUDA; for the smaller CPU build, install that one into .venv first. spandrel comes without
# torchvision, which must match torch; its tests stand in for the three names that it imports.
$(VENV)/.packages: pyproject.toml constraints.txt assets/package-lock.json assets/build.py assets/icons.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || $(MAKE) venv-from-debian
	$(BIN)/pip install --quiet 'torch==2.13.0'
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet -c constraints.txt --no-deps spandrel einops
	touch $@

# The renderer's skia needs three system libraries that a bare Debian lacks.
$(VENV)/.installed: $(VENV)/.packages
	$(BIN)/python -c 'import skia' 2>/dev/null || $(MAKE) skia-libraries
	$(BIN)/python -c 'import skia'
	$(BIN)/python -m compileall -q src  # as of an installed package; the studio starts sooner
	touch $@

# What the tests of pages and of PostgreSQL drive; without root they are skipped, with the reason.
.PHONY: test-system
test-system:
	@{ command -v chromium && ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || \
	if test "$$(id -u)" = 0; then \
	  $(APT) update -qq && $(APT) install -y -qq --no-install-recommends chromium postgresql; \
	else \
	  echo "note: tests that need them are skipped; as root: apt-get install chromium postgresql"; \
	fi

.PHONY: skia-libraries venv-from-debian
skia-libraries:
	@test "$$(id -u)" = 0 || { \
	  echo "error: skia needs system libraries; as root: apt-get install libgl1 libegl1 libfontconfig1"; \
	  exit 1; }
	$(APT) update -qq
	$(APT) install -y -qq libgl1 libegl1 libfontconfig1

venv-from-debian:
	@test "$$(id -u)" = 0 || { \
	  echo "error: python's venv is missing; as root: apt-get install python3-venv"; exit 1; }
	$(APT) update -qq
	$(APT) install -y -qq python3-venv
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
