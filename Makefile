# Everything runs in .venv, which the first target that needs it makes; python3 (3.11 or later) and make are enough.
PYTHON ?= python3
BIN := .venv/bin
# progress shows at once, also through a pipe
export PYTHONUNBUFFERED := 1

.PHONY: install demo ablation test test-slow check format proto docs licences bench clean

# Byte code is compiled once, here: where PYTHONDONTWRITEBYTECODE is set, every process would compile torch anew (9 s).
install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install --quiet uv || true
	@$(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python \
		--constraint constraints.txt --editable '.[dev]' || \
		$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/python -m trainer demo --output runs/demo

ablation: install
	$(BIN)/python -m trainer compare demo --study table2 --seeds 3

# Two files at a time; threads that spin while they wait would take each other's core.
test: install
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile

test-slow: install
	$(BIN)/python -m pytest -m slow

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: install
	$(BIN)/python tools/generate_stubs.py
	$(BIN)/python -m tools.proto_docs

# the variable silences the theme's notice about other programs
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

licences: install
	$(BIN)/python -m tools.licences

bench: install
	$(BIN)/python -m benchmarks.labeler_throughput

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
