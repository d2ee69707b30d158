# The ways to run Postroad and to work on it. Needs make, Python >= 3.11 and a package index;
# everything else is installed into .venv, at the versions that constraints.txt pins.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
RUNS := $(VENV)/.runs
STAMP := $(VENV)/.set-up
PIP = $(PYTHON) -Ium pip install --disable-pip-version-check --constraint constraints.txt
# Installs what is WANTED, with a line for each package that comes.
INSTALL = ( $(PIP) --no-build-isolation $(WANTED) || touch $@.failed ) | \
	sed -n 's/^Collecting \([A-Za-z0-9_.-]*\).*/  \1/p; s|^Installing collected.*|  writing them into $(VENV)|p'; \
	! rm $@.failed 2>/dev/null

# The first of these that runs, is new enough and can make virtual environments. The distribution's
# own first: it is built with profile-guided optimisation, and takes a seventh more mail than the plain
# builds that version managers make. `make setup CANDIDATES=python3.13` chooses another.
CANDIDATES := /usr/bin/python3 python3.13 python3.12 python3.11 python3
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
FIT := import ensurepip; $(NEW_ENOUGH)

# Images: `make images DOCKER_BUILD_FLAGS=--network=host` where builds need the host's network.
DOCKER := docker
BASE_IMAGE := python:3.11-slim-bookworm
IMAGE_PREFIX := postroad
TAG = $(APP_VERSION)
DOCKER_BUILD_FLAGS :=
IMAGES := ingress delivery operator nats

APP_VERSION = $(shell sed -n 's/^appVersion: *//p' charts/postroad/Chart.yaml)
SCENARIOS := tests/cluster
E2E_IMAGES = $(IMAGES:%=$(IMAGE_PREFIX)/%:$(TAG))

# A release: the same octets from the same commit, but for the chart's archive and the SBOM's venv.
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
DIST := dist
HELM := helm
CYCLONEDX := cyclonedx-bom==7.5.0 # Apache-2.0

.PHONY: help setup run test coverage simulate e2e images packages release $(IMAGES:%=image-%) bench chaos endurance flood soak profile check fmt demo proto crds docs lock clean

help: ## Say what there is
	@sed -n -e 's/^##@ \(.*\)/\n\1/p' -e 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1\t\2/p' \
		$(MAKEFILE_LIST) | expand -t 18

##@ Run it

run: $(RUNS) ## Run the relay on this machine; mail ends in a sink of its own
	@exec $(BIN)/postroad up

demo: $(RUNS) ## Send through a relay: delivered, deferred, to two domains, bounced
	@exec $(BIN)/postroad demo

##@ Work on it

setup: $(STAMP) ## Install everything into .venv, what the tests need too

check: $(STAMP) ## Check style, types, layers, and that no code is dead
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

test: check ## Check style, types, layers and freshness, and run every test
	$(PYTHON) -Im pytest -n 2 -rs

fmt: $(STAMP) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) crds ## Write the docs that come from the code
	$(PYTHON) -Im postroad.telemetry.metrics_page docs/metrics.md
	$(PYTHON) -Im postroad.manifests.generate.docs docs/resources.md
	$(PYTHON) -Im postroad.cli.settings_page docs/settings.md
	$(PYTHON) -I charts/readme.py

crds: $(STAMP) ## Write the CustomResourceDefinitions that come from the code
	$(PYTHON) -Im postroad.manifests.generate.crd charts/postroad/templates

proto: $(STAMP) ## Generate the code of the protobuf schemas
	$(PYTHON) -Im grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto proto/postroad/proto/v1/*.proto

lock: $(STAMP) ## Pin the newest versions that fit into constraints.txt
	$(PYTHON) -Im pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --group pyproject.toml:dev pyproject.toml -o constraints.txt

clean: ## Remove .venv and what tools leave behind
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

##@ Test the whole

simulate: $(STAMP) ## Play 10,000 lives of a cluster with faults, from seeds (docs/simulation.md)
	$(PYTHON) -Im postroad_harness.simulation --seeds 10000 --jobs 2

soak: $(STAMP) ## Check an ingress with HAProxy for two minutes, beside clients that leave
	$(PYTHON) -Im postroad_harness.connections.soak --seconds $(or $(SECONDS),120)

images: $(IMAGES:%=image-%) ## Build the image of each process, as postroad/NAME:VERSION

$(IMAGES:%=image-%): image-%:
	$(DOCKER) build $(DOCKER_BUILD_FLAGS) --build-arg BASE_IMAGE=$(BASE_IMAGE) \
		--file $(if $(filter operator,$*),operator,services/$*)/Dockerfile \
		--tag $(IMAGE_PREFIX)/$*:$(TAG) .

# Each run of the scenarios ends with its page, also one that fails.
e2e: $(STAMP) ## Run the scenarios of docs/cluster-tests.md on the current KUBECONFIG
	$(if $(POSTROAD_E2E_LOAD),$(POSTROAD_E2E_LOAD) $(E2E_IMAGES))
	@rm -f build/cluster-tests.json
	$(PYTHON) -Im pytest $(SCENARIOS) -q; result=$$?; \
		$(PYTHON) -Im postroad_harness.cluster.report build/cluster-tests.json docs/cluster-tests.md; \
		exit $$result

##@ Release it

# SOURCE_DATE_EPOCH: the archives bear the time of the commit, so whoever builds it gets the same.
packages: $(STAMP) ## Build wheel, sdist, chart and what images are made from, into dist/
	@command -v $(HELM) >/dev/null || \
		{ echo "Packing the chart needs helm, and $(HELM) is not there; install it and try again." >&2; exit 1; }
	rm -rf $(DIST)
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/hatchling build --directory $(DIST)
	$(HELM) package charts/postroad --destination $(DIST)
	cp services/docker-bake.json $(DIST)/postroad-$(VERSION)-images.json

# The bill of materials is read from an installation of the wheel, with all that a process may need.
release: packages ## Build packages, their bill of materials (CycloneDX) and checksums, into dist/
	@test -z "$$(git status --porcelain)" || \
		{ echo "A release is built from a commit: commit or remove what git status shows, and try again." >&2; exit 1; }
	rm -rf build/sbom build/cyclonedx
	$(PYTHON) -Im venv --without-pip build/sbom
	$(PYTHON) -Im venv build/cyclonedx
	$(PYTHON) -Im pip --python build/sbom/bin/python install --quiet --disable-pip-version-check \
		--constraint constraints.txt '$(DIST)/postroad-$(VERSION)-py3-none-any.whl[cli,operator]'
	build/cyclonedx/bin/pip install --quiet --disable-pip-version-check $(CYCLONEDX)
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) build/cyclonedx/bin/cyclonedx-py environment \
		--output-reproducible --pyproject pyproject.toml \
		--output-file $(DIST)/postroad-$(VERSION).cdx.json build/sbom/bin/python
	cd $(DIST) && sha256sum -- * > SHA256SUMS
	@ls -l $(DIST)

##@ Measure it

bench: $(STAMP) ## Measure the relay beside Postfix and Haraka, or beside BENCH_BASE=COMMIT
	$(PYTHON) -Im postroad_harness.bench \
		$(if $(BENCH_BASE),--base $(BENCH_BASE) --json build/bench-base.json,--page docs/benchmarks.md)

chaos: $(STAMP) ## Kill processes under load and account for all mail (docs/chaos.md)
	$(PYTHON) -Im postroad_harness.chaos --seconds $(or $(SECONDS),600) --page docs/chaos.md

endurance: $(STAMP) ## Pass a million messages, queue 300,000 (docs/endurance.md)
	$(PYTHON) -Im postroad_harness.endurance --messages $(or $(MESSAGES),1000000) \
		--queued $(or $(QUEUED),300000) --part $(or $(PART),both) --page docs/endurance.md

flood: $(STAMP) ## Measure a Client's mail beside a flood of connections, and the memory that many take
	$(PYTHON) -Im postroad_harness.connections.flood --seconds $(or $(SECONDS),30)
	$(PYTHON) -Im postroad_harness.connections.hoard

# Outside CI: it takes longer than the tests do, and people judge what is not covered.
coverage: $(STAMP) ## Measure which branches tests take, in the processes they start too (TESTS="tests/cli")
	@rm -rf build/coverage; mkdir -p build/coverage
	$(PYTHON) -Im coverage run -m pytest -n 2 -q $(TESTS); result=$$?; \
		$(PYTHON) -Im coverage combine -q && $(PYTHON) -Im coverage report; exit $$result

profile: $(STAMP) ## Show where ingress and delivery spend their time under load
	$(PYTHON) -Im pip install --quiet --disable-pip-version-check py-spy==0.4.3
	$(PYTHON) -Im postroad_harness.bench.profiling

# What running needs, for whoever tries it; then, for whoever works on it, all the rest. pip first,
# since the one that comes with Python may not know dependency groups, and what builds the project,
# so that it too is the version that constraints.txt says.
$(RUNS): WANTED = --editable '.[cli]'
$(RUNS): pyproject.toml constraints.txt Makefile
	@if ! $(PYTHON) -Ic '$(NEW_ENOUGH)' 2>/dev/null; then \
		for candidate in $(CANDIDATES); do \
			if "$$candidate" -Ic '$(FIT)' 2>/dev/null; then found="$$candidate"; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "Postroad needs Python 3.11 or newer that can make virtual environments, and none of $(CANDIDATES) is such; install one (on Debian and Ubuntu: python3-venv) and try again." >&2; exit 1; \
		fi; \
		echo "Setting up $(VENV) with $$found ($$("$$found" -V)) ..."; \
		"$$found" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing what running needs, at the versions of constraints.txt (a minute or two):"
	@$(PIP) --quiet pip==26.3 hatchling
	@$(INSTALL)
	@touch $@

$(STAMP): WANTED = --group dev --editable '.[cli,operator]'
$(STAMP): $(RUNS)
	@echo "Installing what checks and tests need:"
	@$(INSTALL)
	@touch $@
