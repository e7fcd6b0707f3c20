# `make` segments the demo, `make test` checks everything. Any Python from 3.11 on: make PYTHON=/path/to/python3
PYTHON ?= python3
ENGINE ?= $(notdir $(shell command -v docker || command -v podman))
IMAGE ?= vesal
ACCELERATOR ?= cpu

.PHONY: predict test image clean

# Fetch a small volume, segment it as the container does, show score and picture.
predict: .venv/ready
	.venv/bin/python -m demo --case nuclei

test: .venv-dev/ready
	.venv-dev/bin/ruff check .
	PYTHON=$(CURDIR)/.venv-dev/bin/python .venv-dev/bin/python -m pytest

image:
	$(ENGINE) build --build-arg ACCELERATOR=$(ACCELERATOR) --tag $(IMAGE) .

clean:
	rm -rf .venv .venv-dev .demo .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The runtime as the image has it (its lists are complete, hence --no-deps), and what the scores and pictures need.
.venv/ready: requirements.txt requirements-cpu.txt requirements-evaluation.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Vesal needs Python 3.11 or later")'
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet --no-deps -r requirements-cpu.txt
	.venv/bin/pip install --quiet -r requirements-evaluation.txt
	touch $@

.venv-dev/ready: requirements.txt requirements-cpu.txt requirements-evaluation.txt requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Vesal needs Python 3.11 or later")'
	$(PYTHON) -m venv --clear .venv-dev
	.venv-dev/bin/pip install --quiet -r requirements-dev.txt
	touch $@
