# The commands that README tells people to type; CI types the same.
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTHON ?=
export PYTHON

.PHONY: help install run check test bench bench-serving lock clean

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 10

install: .venv/.installed ## make .venv from requirements.lock

.venv/.installed: requirements.lock pyproject.toml infra/setup.sh infra/uv.lock
	@infra/setup.sh

run: install ## the whole chain on the default data, ending in a promoted recommender
	@$(BIN)/shoploom run

check: install ## lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: install ## every test, file by file beside each other on up to four cores
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

bench: install ## every figure that README quotes, measured here and now
	@for file in tests/benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-serving: install ## what serving reaches on the finished run's champion: latency, throughput, swaps, memory
	@$(BIN)/python tests/benchmarks/bench_serving.py
	@$(BIN)/python tests/benchmarks/bench_wide.py

lock: ## compile requirements.lock again from pyproject.toml
	uv=$$(command -v uv || echo .shoploom/uv/bin/uv); $$uv pip compile --quiet --generate-hashes --no-emit-index-url \
	    --universal --python-version 3.11 pyproject.toml --group dev --output-file requirements.lock

clean: ## remove the environment and the tools' caches; data and models stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
