# `make` lists the targets. PYTHON is the interpreter that creates .venv.
PYTHON ?= python3
PY := .venv/bin/python
BACKEND ?= docker
IMAGE ?= registry.molam/sira-inference
VERSION ?= v1.0.0
COMMIT = $(shell git rev-parse HEAD)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export ORT_DISABLE_TELEMETRY := 1
export BENTOML_DO_NOT_TRACK := True
# uv leaves compiling to the first import, so the result must be stored: else every process compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run demo screenshots test lint bench bench-quick bench-latency bench-profile bench-scale bench-canary bench-guard bench-reasons monitoring-cases faults archive-kills bento image image-spark sbom licences audit lock tools clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/.run ## set up and serve on 8080 and 3000 until Ctrl-C (PORT, CONTROL_PORT, SIRA_HOME, WORKERS)
	@exec $(PY) -m lab.demo.run

demo: .venv/.run ## run a backtest, then three canaries under live traffic: good, raising errors, becoming slow
	@exec $(PY) -m lab.demo

# These parts run in two processes, each with a Postgres, a bucket and served processes of its own. The acceptance tests
# and those in a browser judge what they time and load both cores themselves: they run alone.
PARALLEL := tests/contract tests/integration tests/unit

test: lint tools ## lint, then run every test: unit, integration, contract, acceptance
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PARALLEL)
	$(PY) -m pytest $(PARALLEL:%=--ignore=%)

screenshots: .venv/.dev ## take the README's pictures of the console: three minutes, needs Chromium
	@exec $(PY) -m lab.demo.screenshots

lint: .venv/.dev ## check style, types, imports, spelling and wording
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports --cache-dir .import_linter_cache
	$(PY) -m codespell_lib
	$(PY) -m lab.language

bench: .venv/.dev ## compare with the alternatives, on the same model and payloads
	@exec $(PY) -m lab.benchmarks

bench-quick: .venv/.dev ## make the same comparison in under two minutes
	@exec $(PY) -m lab.benchmarks --quick

bench-latency: .venv/.dev ## measure tail latency at a constant arrival rate, with a promotion half-way: ten minutes
	@exec $(PY) -m lab.benchmarks latency

bench-profile: .venv/.dev ## measure the processor time of a request and of a batch, by part
	@exec $(PY) -m lab.benchmarks profile

bench-scale: .venv/.dev ## measure how each part grows: half an hour, 30 GB of disk
	@exec $(PY) -m lab.benchmarks scale

bench-canary: .venv/.dev ## simulate the judge: false rollbacks and detection delays, with the usual methods beside it
	@exec $(PY) -m lab.benchmarks.canary

bench-guard: .venv/.dev ## simulate the guard on production's decisions: false alarms and delays
	@exec $(PY) -m lab.benchmarks.guard

bench-reasons: .venv/.dev ## measure the cost of an exact explanation, with shap beside it: ten minutes
	@exec $(PY) -m lab.benchmarks reasons

monitoring-cases: .venv/.dev ## break what a served product receives, and time its alarms: half an hour
	@exec $(PY) -m lab.benchmarks.monitoring --docs

bench-backtest: .venv/.dev ## measure the archive, backtests and training sets, with pandas beside them: ten minutes
	@exec $(PY) -m lab.benchmarks backtest

faults: .venv/.dev ## break real parts under load; count what was lost, duplicated or wrong
	@exec $(PY) -m lab.faults

archive-kills: .venv/.dev ## kill the archiving process 20 times at random moments, and compare every row
	ARCHIVE_KILLS=20 ARCHIVE_KILL_ROWS=60000 $(PY) -m pytest tests/integration/archive/test_killed.py -q

bento: .venv/.run ## build the Bento sira_inference, labelled with version and commit
	.venv/bin/bentoml build --label version=$(VERSION) --label commit=$(COMMIT)

image: ## build the image of all processes (BACKEND=docker|podman|buildah, VERSION)
	$(BACKEND) build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) -t $(IMAGE):$(VERSION) .

image-spark: ## build the image of backtests on Spark, from that of `make image`: with Java and pyspark
	$(BACKEND) build -f Dockerfile.spark --build-arg IMAGE=$(IMAGE):$(VERSION) -t $(IMAGE):$(VERSION)-spark .

sbom: .venv/.dev ## write dist/sbom.json (CycloneDX) of the image's packages
	@mkdir -p dist
	.venv/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o dist/sbom.json requirements-image.lock

licences: .venv/.dev ## write docs/licences.md, the licences of the image's packages
	$(PY) lab/scripts/licences.py

audit: .venv/.dev ## check the image's packages against public advisories (needs the network)
	.venv/bin/pip-audit --require-hashes --disable-pip --requirement requirements-image.lock

UV := uv pip compile pyproject.toml --quiet --generate-hashes --no-emit-index-url --custom-compile-command 'make lock'

lock: ## resolve pyproject.toml into the four lock files again (needs uv)
	@command -v uv >/dev/null || { echo "make lock: uv is missing: pip install uv"; exit 1; }
	$(UV) -o requirements-image.lock
	$(UV) --extra spark -c requirements-image.lock -o requirements-spark.lock
	$(UV) --extra local -c requirements-image.lock -o requirements.lock
	$(UV) --extra local --extra dev -c requirements.lock -o requirements-dev.lock
	$(PYTHON) -m lab.bootstrap --seal

clean: ## remove caches and builds, but not .venv and .sira
	rm -rf dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

.venv/.run: requirements.lock pyproject.toml
	@$(PYTHON) -m lab.bootstrap $< $@

.venv/.dev: requirements-dev.lock pyproject.toml
	@$(PYTHON) -m lab.bootstrap $< $@

# Debian packages of programs that some tests run. Without them, those tests are skipped, with the reason.
tools:
	@for tool in promtool:prometheus amtool:prometheus-alertmanager wrk:wrk jq:jq curl:curl npm:npm \
	  chromium:chromium pgbouncer:pgbouncer java:openjdk-17-jre-headless; do \
	  command -v $${tool%:*} >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing"; \
	  apt-get -qq update && apt-get -qq install -y --no-install-recommends $$missing >/dev/null && exit 0; \
	fi; \
	echo "not installed:$$missing; the tests that need them are skipped"
