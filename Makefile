# `make` segments the demo, `make test` checks everything. Any Python from 3.11 on: make PYTHON=/path/to/python3
PYTHON ?= python3
ENGINE ?= $(notdir $(shell command -v docker || command -v podman))
IMAGE ?= vesal
ACCELERATOR ?= cpu
FORMATS ?= default
TREE = .linked

# Training: where data and real cases lie, the steps of its eleven runs (HOURS="6 1 2 2 1 1 1 2 1 .5 1" gives hours in their
# place), and where the weights go. Two processes, as a step's views and so the result hang on how many there are.
DATA ?= ../shared/data
CASES ?= ../shared/cases
STEPS ?= 16717 466 808 2483 2005 681 812 2517 2052 931 2085
PROCESSES ?= 2
WEIGHTS ?= weights/nano
RUNS ?= .training
TRAIN = .venv-dev/bin/python -m vesal.training --data $(DATA) --store $(RUNS)/store --processes $(PROCESSES)
LENGTH = $(if $(HOURS),--hours $(word $(1),$(HOURS)),--steps $(word $(1),$(STEPS)))
NARROW = --widths 24 48 96 128 --without settling
LATER = $(NARROW) --start $(RUNS)/1/weights --seed 6 --rate 1e-3
VALIDATE = .venv-dev/bin/python -m vesal.training.validate --data $(DATA)/val --real $(CASES) --weights $(WEIGHTS)

.PHONY: predict test cluster viewer fuzz lint tree imports types image weights clean

# Fetch a small volume, segment it as the container does, show score and picture.
predict: .venv/ready
	.venv/bin/python -m vesal.demo --case nuclei

test: lint
	PYTHON=$(CURDIR)/.venv-dev/bin/python .venv-dev/bin/python -m pytest

# Tests of `vesal batch` in an environment with Ray, stores and their servers: workers are killed, and nodes lost. Those
# that need none of it run in `make test`.
CLUSTER_TESTS = $(addprefix tests/cluster/test_,ray.py ray_command.py signals_of_ray.py stores.py other_stores.py \
    results.py security.py sources.py)

cluster: .venv-cluster/ready
	.venv-cluster/bin/python -m pytest $(CLUSTER_TESTS)

# Fetch NiiVue, of its pinned npm package, for `vesal view`.
viewer:
	$(PYTHON) tools/vendor_niivue.py

# Made and damaged inputs for so many minutes; `make test` takes two. Another SEED gives others.
fuzz: .venv-dev/ready
	FUZZ_MINUTES=$(or $(MINUTES),2) FUZZ_SEED=$(or $(SEED),0) .venv-dev/bin/python -m pytest tests/fuzz

lint: .venv-dev/ready imports types
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .

# import-linter and mypy look for packages in folders: $(TREE) shows them the checkout as it is installed.
tree: .venv-dev/ready
	.venv-dev/bin/python tools/link_tree.py $(TREE)

imports: tree
	cd $(TREE) && $(CURDIR)/.venv-dev/bin/lint-imports $(CURDIR)/pyproject.toml

types: tree
	cd $(TREE) && $(CURDIR)/.venv-dev/bin/mypy --config-file $(CURDIR)/pyproject.toml \
	    -p vesal -p benchmarks -p tests -p tools

image:
	$(ENGINE) build --build-arg ACCELERATOR=$(ACCELERATOR) --build-arg FORMATS=$(FORMATS) --tag $(IMAGE) .

# Train the default weights again: a narrow network from nothing, from its result, that for longer; the mean of the three,
# widened and trained on; that on more abdomens, and the mean of the last two; from that with other contrasts and thicker
# slices, then with late enhancement, and the mean of that and of where these two began; from that for longer, and a quarter
# of it; from that with abdomens more often, from the mean of both with parts of volumes, and of these three a mean; from
# that with abdomens in thicker slices and finer views, and three tenths of it. Some fifteen hours on two cores with
# AVX512-bf16, two days with AVX2 alone; goes on where it was interrupted, so RUNS is to be empty for other settings. The last
# run writes to WEIGHTS first, as a training tells in the manifest how it showed each target, and a mean does not.
weights: .venv-dev/ready
	$(TRAIN) $(NARROW) --work $(RUNS)/1 --out $(RUNS)/1/weights $(call LENGTH,1) --seed 0
	$(TRAIN) --work $(RUNS)/2 --out $(RUNS)/2/weights $(call LENGTH,2) $(LATER)
	test -d $(RUNS)/3 || { rm -rf $(RUNS)/3.new && cp -r $(RUNS)/2 $(RUNS)/3.new && mv $(RUNS)/3.new $(RUNS)/3; }
	$(TRAIN) --work $(RUNS)/3 --out $(RUNS)/3/weights $(call LENGTH,3) $(LATER)
	.venv-dev/bin/python -m vesal.training.average $(RUNS)/2 $(RUNS)/3 $(RUNS)/1 --out $(RUNS)/mean
	$(TRAIN) --work $(RUNS)/4 --out $(RUNS)/4/weights $(call LENGTH,4) --start $(RUNS)/mean --seed 8 --rate 8e-4
	$(TRAIN) --work $(RUNS)/5 --out $(RUNS)/5/weights $(call LENGTH,5) --start $(RUNS)/4/weights --seed 9 --rate 8e-4
	.venv-dev/bin/python -m vesal.training.average $(RUNS)/5 $(RUNS)/4 --out $(RUNS)/mean2
	$(TRAIN) --work $(RUNS)/6 --out $(RUNS)/6/weights $(call LENGTH,6) --start $(RUNS)/mean2 --seed 10 --rate 8e-4 \
	    --leave-out MR_HeartLGE
	$(TRAIN) --work $(RUNS)/7 --out $(RUNS)/7/weights $(call LENGTH,7) --start $(RUNS)/6/weights --seed 11 --rate 8e-4
	.venv-dev/bin/python -m vesal.training.average $(RUNS)/7 $(RUNS)/mean2 --out $(RUNS)/mean3
	$(TRAIN) --work $(RUNS)/8 --out $(RUNS)/8/weights $(call LENGTH,8) --start $(RUNS)/mean3 --seed 22 --rate 8e-4
	.venv-dev/bin/python -m vesal.training.average $(RUNS)/8 $(RUNS)/mean3 --shares 0.25 0.75 --out $(RUNS)/mean4
	$(TRAIN) --work $(RUNS)/9 --out $(RUNS)/9/weights $(call LENGTH,9) --start $(RUNS)/mean4 --seed 23 --rate 8e-4
	.venv-dev/bin/python -m vesal.training.average $(RUNS)/9 $(RUNS)/mean4 --out $(RUNS)/mean5
	$(TRAIN) --work $(RUNS)/10 --out $(RUNS)/10/weights $(call LENGTH,10) --start $(RUNS)/mean5 --seed 24 --rate 8e-4
	.venv-dev/bin/python -m vesal.training.average $(RUNS)/9 $(RUNS)/10 $(RUNS)/mean4 --shares 0.5 0.3 0.2 --out $(RUNS)/mean6
	$(TRAIN) --work $(RUNS)/11 --out $(WEIGHTS) $(call LENGTH,11) --start $(RUNS)/mean6 --seed 25 --rate 8e-4
	.venv-dev/bin/python -m vesal.training.average $(RUNS)/11 $(RUNS)/mean6 --shares 0.3 0.7 --out $(WEIGHTS)
	$(VALIDATE) --all --forget --write
	$(VALIDATE) --write

clean:
	rm -rf .venv .venv-dev .venv-cluster .linked .demo .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The runtime as the image has it (its list is complete, hence --no-deps), and what the scores and pictures need.
.venv/ready: pyproject.toml tools/pins.py
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Vesal needs Python 3.11 or later")'
	$(PYTHON) -m venv --clear .venv
	$(PYTHON) tools/pins.py runtime >.venv/pins.txt
	.venv/bin/pip install --quiet --no-deps -r .venv/pins.txt
	$(PYTHON) tools/pins.py evaluation >.venv/pins.txt
	.venv/bin/pip install --quiet -r .venv/pins.txt
	touch $@

# pytest, and nibabel for the scans of tests, are of `dev`, the rest of which they do without.
.venv-cluster/ready: pyproject.toml tools/pins.py
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Vesal needs Python 3.11 or later")'
	$(PYTHON) -m venv --clear .venv-cluster
	$(PYTHON) tools/pins.py runtime cluster cluster-tests >.venv-cluster/pins.txt
	$(PYTHON) tools/pins.py dev | grep -E '^(pytest|nibabel)==' >>.venv-cluster/pins.txt
	.venv-cluster/bin/pip install --quiet -r .venv-cluster/pins.txt
	touch $@

.venv-dev/ready: pyproject.toml tools/pins.py
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Vesal needs Python 3.11 or later")'
	$(PYTHON) -m venv --clear .venv-dev
	$(PYTHON) tools/pins.py runtime dev >.venv-dev/pins.txt
	.venv-dev/bin/pip install --quiet -r .venv-dev/pins.txt
	touch $@
