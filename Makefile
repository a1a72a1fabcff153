# SPDX-License-Identifier: Apache-2.0
# Everything a person or CI runs. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= -n 2

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python >= 3.11 is needed; this is $$($(PYTHON) --version). Set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: install
install: $(STAMP) ## Set up .venv with the locked dependencies

.PHONY: demo
demo: $(STAMP) ## Watch a GPU Deployment scale out and in: no GPU, no cluster needed
	@$(BIN)/gpu-demo $(DEMO_ARGS)

.PHONY: test
test: $(STAMP) ## Run every test that this machine can run, and name what it lacks
	@$(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS)

.PHONY: test-quick
test-quick: $(STAMP) ## Run the tests that need only Python
	@$(BIN)/python -m pytest $(WORKERS) -m "not needs" $(PYTEST_ARGS)

.PHONY: cluster-tools
cluster-tools: $(STAMP) ## Build the pinned programs for `make test` (needs Go; once, ~10 min)
	@$(BIN)/python -m tests.cluster.tools $(TOOLS)

.PHONY: lint
lint: $(STAMP) ## Check format, lint, types, import rules and generated code
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint Dockerfile
	@sh .ci/check-generated $(BIN)

.PHONY: format
format: $(STAMP) ## Mend format and what lint can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: generate
generate: $(STAMP) ## Write what is made from other files: gRPC messages, dashboards, operator's rules
	@$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. \
		simulator/podresources.proto tests/cluster/node/deviceplugin.proto
	@$(BIN)/python -m daemonset.monitoring
	@$(BIN)/python -m daemonset.admission

IMAGE ?= gpu-scaler:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BUILDERS := docker podman buildah

.PHONY: image
image: ## Build the image IMAGE with Docker, Podman or buildah
	@for builder in $(BUILDERS); do \
		command -v $$builder >/dev/null || continue; \
		echo "Building $(IMAGE) with $$builder"; \
		exec $$builder build -t $(IMAGE) $(IMAGE_ARGS) .; \
	done; echo "None of $(BUILDERS) is installed: install one to build the image"; exit 1

.PHONY: manifests
manifests: $(STAMP) ## Write daemonset/*.yaml from the chart (needs make cluster-tools TOOLS=helm)
	@$(BIN)/python -m tests.chart.manifests

.PHONY: docs
docs: $(STAMP) ## Write the parts of the pages that are made from the code
	@$(BIN)/python -m tests.pages

.PHONY: pictures
pictures: $(STAMP) ## Take the README's pictures again, 1 min (needs Chromium)
	@$(BIN)/python -m tests.browser.pictures

.PHONY: lock
lock: $(STAMP) ## Resolve the lock files again (needs uv)
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--group dev pyproject.toml -o requirements-dev.lock
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		-c requirements-dev.lock pyproject.toml -o requirements.lock
	@uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		-c requirements-dev.lock --group build -o requirements-build.lock
	@for server in dynamo llamacpp; do cd $(CURDIR)/tests/cluster/tools/$$server && \
		uv pip compile --quiet --no-deps --universal --generate-hashes --no-emit-index-url --no-header \
			--no-annotate requirements.in -o requirements.txt || exit 1; done

.PHONY: bench
bench: bench-exporter bench-endurance bench-step bench-policy bench-simulate bench-scaler bench-latency bench-metrics-api bench-namespaces bench-abuse bench-victims bench-requests ## Run all benchmarks; results go to build/bench/

.PHONY: bench-exporter
bench-exporter: $(STAMP) ## Exporter: start, latency under scrapes, CPU, RSS, packages, cost of each collector
	@$(BIN)/python -m benchmarks.exporter
	@$(BIN)/python -m benchmarks.collectors

.PHONY: bench-endurance
bench-endurance: $(STAMP) ## Exporter: a day's readings, scrapes and pod changes in 12 min; memory and files
	@$(BIN)/python -m benchmarks.endurance

.PHONY: bench-step
bench-step: $(STAMP) ## Load step to patched replicas, at defaults and tuned for speed
	@$(BIN)/python -m benchmarks.step

.PHONY: bench-scaler
bench-scaler: $(STAMP) ## The scaler on up to 20,000 nodes: time per loop by stage, beside a bare client; memory
	@$(BIN)/python -m benchmarks.scaler

.PHONY: bench-requests
bench-requests: $(STAMP) ## Model servers: 5,000 beside GPU nodes, 8 min; steps beside KEDA, 10 min (and its build)
	@$(BIN)/python -m benchmarks.requests
	@$(BIN)/python -m tests.cluster.tools keda-operator keda-adapter
	@$(BIN)/python -m benchmarks.requestlatency $(BENCH_ARGS)

.PHONY: bench-policy
bench-policy: $(STAMP) ## The scaler's decisions beside the HPA's arithmetic, in simulation (curves drawn)
	@$(BIN)/python -m benchmarks.policy

.PHONY: bench-simulate
bench-simulate: $(STAMP) ## A week of 20 Deployments replayed at 4 targets: CPU time, and its memory from Prometheus, 2 min
	@$(BIN)/python -m benchmarks.simulate

.PHONY: bench-traces
bench-traces: $(STAMP) ## The scaler beside an HPA's chain on published load, 5 min (needs TRACES=FOLDER)
	@$(BIN)/python -m benchmarks.publishedtraces $(TRACES) $(BENCH_ARGS)

.PHONY: bench-latency
bench-latency: $(STAMP) ## The same beside Prometheus + adapter + HPA, 20 min (needs make cluster-tools)
	@$(BIN)/python -m benchmarks.latency $(BENCH_ARGS)

.PHONY: bench-metrics-api
bench-metrics-api: $(STAMP) ## 500 HPAs on the scaler's metrics API, 8 min (needs make cluster-tools)
	@$(BIN)/python -m benchmarks.metricsapi $(BENCH_ARGS)

.PHONY: bench-namespaces
bench-namespaces: $(STAMP) ## Deleting a namespace while nobody serves the metrics API, 8 min (needs make cluster-tools)
	@$(BIN)/python -m tests.cluster.tools metrics-server
	@$(BIN)/python -m benchmarks.namespaces

.PHONY: bench-victims
bench-victims: $(STAMP) ## Busy pods that a scale-down removes, as the ReplicaSet chooses and the idlest, 10 min (needs make cluster-tools)
	@$(BIN)/python -m benchmarks.victims $(BENCH_ARGS)

.PHONY: bench-abuse
bench-abuse: $(STAMP) ## An innocent party's decisions beside attacks on the scaler, 12 min
	@$(BIN)/python -m benchmarks.abuse $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
