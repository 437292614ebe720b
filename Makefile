# evenstream. `make` lists the commands; the two that matter are `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-locks

# Bytecode is kept: without it every process compiles the project anew, and every worker of pytest each test's asserts.
unexport PYTHONDONTWRITEBYTECODE

# Tests write thousands of small files, and sync each key to the disk; in memory, where there is room, that is free.
IN_MEMORY := $(shell grep -s ' /dev/shm ' /proc/mounts | grep -qv noexec && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 3000000 {print "/dev/shm"}')

.DEFAULT_GOAL := help
.PHONY: help demo acl-matrix test check lint types imports unit jars kafka observe chart chart-live chart-files chart-golden chaos accuracy bench bench-quick bench-counts audit-privacy canary fuzz sbom audit-deps screenshots page-load dashboards wheel peers lock census clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: $(STAMP) ## The main job, live, on a Kafka of its own (KEEP=1 keeps it up, SECURE=1 secures it); about three minutes
	@$(BIN)/evenstream demo $(if $(KEEP),--keep) $(if $(SECURE),--secure)

acl-matrix: $(STAMP) ## Every principal tries every operation on a secured Kafka: precisely what is documented succeeds
	@$(BIN)/evenstream acl matrix

test: $(STAMP) ## Everything: check, and the tests on a real Kafka; under 15 minutes
	$(call each,lint imports unit jars kafka)

check: export UNIT_OPTIONS := --hypothesis-profile=quick -m "not kafka and not observe and not chart and not slow"
check: $(STAMP) ## The quick part: lint, types, imports, unit tests; under two minutes
	$(call each,lint imports unit)

# Runs every part, so that one run tells all that is wrong, and says at the end which parts failed. Types are checked
# beside the others: mypy is one process, and the other cores would wait for it.
define each
@failed=; whole=$$(date +%s); told=$$(mktemp); $(MAKE) --no-print-directory types >$$told 2>&1 & types=$$!; \
for part in $(1); do \
    begun=$$(date +%s); echo "== $$part"; \
    $(MAKE) --no-print-directory $$part || failed="$$failed $$part"; \
    echo "   $$part: $$(($$(date +%s) - begun)) s"; \
done; \
echo "== types"; wait $$types || failed="$$failed types"; cat $$told; rm $$told; \
if [ -n "$$failed" ]; then echo "$@ FAILED in:$$failed. Each can be run alone, for example: make$$failed" >&2; exit 1; fi; \
echo "$@ passed in $$(($$(date +%s) - whole)) s"
endef

lint: $(STAMP)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check -q . || { echo "lint failed: run $(BIN)/ruff check --fix . && $(BIN)/ruff format ."; exit 1; }

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

# One thread a process: matrices here are small, and two workers with two threads each only wait for one another.
# Neighbours stay on one worker until another has nothing left to do: what a module's tests share is made once.
unit: export OPENBLAS_NUM_THREADS := 1
unit: export TMPDIR := $(or $(IN_MEMORY),$(TMPDIR))
unit: $(STAMP)
	@$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not kafka and not observe and not chart" $(UNIT_OPTIONS)

# Before the tests, and apart from them: here its progress can be seen, and a missing Java or Maven is one clear message.
jars: $(STAMP)
	@$(BIN)/evenstream dev kafka fetch

# Only files that name Kafka: collecting all of the others costs each process half a minute.
kafka: export TMPDIR := $(or $(IN_MEMORY),$(TMPDIR))
kafka: $(STAMP)
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "kafka and not observe and not chart" $$(grep -rlw kafka tests --include='test_*.py')

# What is missing is installed where it may be; a test whose program is not here says so, and no time of its is printed.
OBSERVED := $(CURDIR)/build/observed.txt
observe: export TMPDIR := $(or $(IN_MEMORY),$(TMPDIR))
observe: $(STAMP) ## What people see, with the real Prometheus, Alertmanager and Chromium: each alert's time from its cause; five minutes
	@.ci/install
	@$(BIN)/evenstream dev kafka fetch
	@mkdir -p build && rm -f $(OBSERVED)
	@OBSERVED=$(OBSERVED) $(BIN)/python -m pytest -q -m observe $$(grep -rlw observe tests --include='test_*.py'); status=$$?; \
	echo "== from cause to firing; rules sixty times as fast"; cat $(OBSERVED) 2>/dev/null || { echo "no alert was timed"; status=1; }; exit $$status

# Helm is built once, from its Go module, where none is found: $HELM, PATH, the control plane's folder, then the cache.
chart: export TMPDIR := $(or $(IN_MEMORY),$(TMPDIR))
chart: $(STAMP) ## The Helm chart: lint, a matrix of values against Kubernetes and CRD schemas, policies, refusals; a minute
	@$(BIN)/python -m bench.chart.programs
	@$(BIN)/python -m pytest -q -n auto --dist loadfile -m "chart and not cluster" tests/chart

# The control plane's programs take a quarter of an hour to build, once. Its tests stand in one process: each has a
# cluster, and one of them a Kafka and all roles as well.
CONTROL_PLANE ?= $(abspath ../shared/kube/control-plane)
chart-live: export TMPDIR := $(or $(IN_MEMORY),$(TMPDIR))
chart-live: export CONTROL_PLANE := $(CONTROL_PLANE)
chart-live: $(STAMP) ## The chart on a real API server, and its pods run for real on a secured Kafka; ten minutes
	@test -x $(CONTROL_PLANE) || { echo "there is no $(CONTROL_PLANE): name it, make chart-live CONTROL_PLANE=FILE"; exit 1; }
	@$(CONTROL_PLANE) build
	@$(BIN)/evenstream dev kafka fetch
	@$(BIN)/python -m pytest -q -rs --durations=8 -m "chart and cluster" tests/chart tests/streams/test_kubernetes_secrets.py

chart-files: $(STAMP) ## Write the chart's files that follow from the code (ACLs, topics, rules, dashboards), and its README
	@$(BIN)/python -m bench.chart
	@cd helm/evenstream && $$($(CURDIR)/$(BIN)/python -c 'from bench.chart.programs import find_helm_docs; print(find_helm_docs(print))' | tail -1) -c . -o README.md -t README.md.gotmpl -l warning

chart-golden: $(STAMP) ## Write the manifests anew that the tests hold the chart's against
	@PYTHONPATH=.:tests $(BIN)/python -m chart.golden

chaos: $(STAMP) ## Kill anything at any time, and show that every row counts once; about ten minutes (MINUTES=2, SEED=n)
	@$(BIN)/evenstream chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(OPTIONS)

# One thread a process: matrices here are small, and two processes with two threads each only wait for one another.
accuracy: $(STAMP) ## Write docs/accuracy.md: coverage, bias, the peers, the real log; about fifteen minutes (QUICK=1: two)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.accuracy $(if $(QUICK),--quick --out build/accuracy) $(OPTIONS)

# The machine to itself, please: what else runs on it is in the figures.
bench: $(STAMP) ## Write docs/performance.md: side by side with others, scale, latency, memory; an hour (PARTS="scale": some)
	@$(BIN)/evenstream dev kafka fetch
	@$(BIN)/python -m bench.performance $(if $(PARTS),--only $(PARTS)) $(OPTIONS)

bench-quick: $(STAMP) ## The same with less of everything, into build/performance; four minutes
	@$(BIN)/evenstream dev kafka fetch
	@$(BIN)/python -m bench.performance --quick $(if $(PARTS),--only $(PARTS)) $(OPTIONS)

bench-counts: $(STAMP) ## What a batch takes: Python steps and bytes, and instructions where valgrind is; two minutes
	@$(BIN)/python -m bench.performance.counts
	@$(BIN)/python -m bench.performance.instructions

audit-privacy: $(STAMP) ## Attack each party's releases: promised and measured mu and epsilon, planted bugs; some minutes
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.privacy_audit $(OPTIONS)

# atheris is in no lock, and has wheels for few versions of Python: without it the targets are fuzzed by plain mutation.
EXECUTIONS ?= 100000
fuzz: $(STAMP) ## Fuzz every decoder (EXECUTIONS=10000000: the long run; TARGETS="events release": some)
	@$(PYTHON) -m venv build/fuzz-venv && build/fuzz-venv/bin/python -m pip install -q 'atheris>=3.0' || echo "no atheris here: plain mutation"
	@PYTHONPATH=.:tests:$$(echo build/fuzz-venv/lib/python3.*/site-packages) $(BIN)/python -m fuzz --executions $(EXECUTIONS) $(TARGETS)

canary: $(STAMP) ## Search for what is left of members who went through the whole system (SHORT=1: fewer crashes)
	@$(BIN)/evenstream canary $(if $(SHORT),--short)

sbom: $(STAMP) ## Write build/sbom.cdx.json, and the developers' Kafka apart; validated against CycloneDX 1.6
	@$(BIN)/python -m bench.supply.sbom --out build
	@test -x build/supply-venv/bin/python || $(PYTHON) -m venv build/supply-venv
	@build/supply-venv/bin/python -c 'import cyclonedx, jsonschema' 2>/dev/null || build/supply-venv/bin/python -m pip install -q 'cyclonedx-python-lib[json-validation]==11.12.0'
	@build/supply-venv/bin/python -m bench.supply.validate build/sbom*.cdx.json

audit-deps: $(STAMP) ## Check the lock against known vulnerabilities (OSV=FOLDER of an export; without one: status 3)
	@$(BIN)/python -m bench.supply.audit $(if $(OSV),--osv $(OSV)); status=$$?; exit $$status

wheel: $(STAMP) ## Build the wheel that the Containerfile installs, the same bytes from the same commit
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build -t wheel -d build/wheel

peers: $(STAMP) ## Compare race probabilities with other public tools, in an environment of their own; some minutes
	@$(PYTHON) -m venv build/peers-venv && build/peers-venv/bin/python -m pip install -q '.[dev,peers]'
	@PYTHONPATH=.:tests build/peers-venv/bin/python -m peers.peers docs/accuracy/peers.json
	@PYTHONPATH=.:tests build/peers-venv/bin/python -m pytest -q -m peers tests/peers
	@echo "docs/accuracy/peers.json is written; make accuracy puts it on the page"

screenshots: $(STAMP) ## Photograph the live page of a run that turns unfair, for docs/images; needs chromium, five minutes
	@$(BIN)/python -m bench.live_page pictures

page-load: $(STAMP) ## Time publication with no page and with 200 pages open (PAGES=n); six minutes
	@$(BIN)/python -m bench.live_page load $(if $(PAGES),--pages $(PAGES))

dashboards: $(STAMP) ## Write the Grafana dashboards anew (streams/watch/dashboards)
	@$(BIN)/python -m bench.dashboards

# What runs is what was tested: the run-time lock takes the versions of the developers' one.
PIN := -q --strip-extras --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-header
lock: $(STAMP) ## Pin what the project stands on anew, by hash
	@mkdir -p build && $(BIN)/python -m pip install -q pip-tools
	@$(BIN)/pip-compile $(PIN) --allow-unsafe --upgrade --extra dev -o requirements-dev.lock pyproject.toml
	@sed -E 's/ *--hash=[^ ]+//; s/ *\\$$//' requirements-dev.lock > build/tested.txt
	@$(BIN)/pip-compile $(PIN) -c build/tested.txt -o requirements.lock pyproject.toml

census: $(STAMP) ## Build the Census pack from its sources (needs pyarrow)
	@$(BIN)/python -m pip install -q pyarrow && $(BIN)/python -m estimator.census_build

# The environment is made from the locks, and anew whenever they or the project's own metadata change.
$(STAMP): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: apt-get install -y python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, this is $$($(PYTHON) --version); set PYTHON=python3.12, say"; exit 1; }
	@echo "making $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: apt-get install -y python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

clean: ## Remove what make has made
	@rm -rf $(VENV) .evenstream .mypy_cache .ruff_cache .pytest_cache .hypothesis
