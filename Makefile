# Needs on a fresh machine: Go, Python 3.11, Java 17. What else the targets need (a virtual environment with Beam,
# Kafka, MariaDB, the linter) they fetch, into .venv and .cache here, and from Debian's packages when run as root.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL: # targets that measure or that use both cores do not share them

GO ?= go
PYTHON ?= python3.11
ARGS ?=
FUZZTIME ?= 5s
BENCHTIME ?= 1s
SOAK ?= 10m

GOLANGCI_VERSION := v2.15.0
golangci := .cache/tools/golangci-lint-$(GOLANGCI_VERSION)
prism := .cache/tools/prism
need := internal/tools/need.sh
venv := .venv/ready
kafka := .cache/kafka/ready
gosuites := .cache/gosdk/ready
tssuites := .cache/typescript/ready
javasuites := .cache/javasdk/ready

# Modules beside the main one: what they need, the runner must not.
modules := $(patsubst %/go.mod,%,$(wildcard examples/*/go.mod examples/*/*/go.mod))

##@ Use

.PHONY: help
help: ## show this
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/fresnel
	$(GO) build -trimpath -o bin/ ./cmd/fresnel

.PHONY: wheel
wheel: $(venv) ## build the Python package, with the program in it, into bin
	rm -rf .cache/wheel && mkdir -p .cache && cp -R python .cache/wheel
	CGO_ENABLED=0 $(GO) build -trimpath -o .cache/wheel/src/fresnel/bin/ ./cmd/fresnel
	.venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir bin .cache/wheel

.PHONY: demo
demo: build modules $(venv) ## run the CDN job on embedded parts until stopped; ARGS=--once checks it and ends
	bin/fresnel demo $(ARGS)

##@ Work on it

.PHONY: test
test: lint unit fuzz integration ## everything that CI runs, quick checks first

.PHONY: lint
lint: $(golangci) ## gofmt, go vet and golangci-lint, on every module
	@unformatted=$$(find . -path './.?*' -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	  [ -z "$$unformatted" ] || { echo "gofmt these: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(golangci) run ./...
	@for m in $(modules); do echo "lint $$m"; (cd $$m && $(GO) vet ./... && $(CURDIR)/$(golangci) run ./...); done

.PHONY: unit
unit: parts $(venv) ## unit tests, with the race detector; some run on real parts
	@$(need) 'command -v gcc' gcc libc6-dev
	CGO_ENABLED=1 $(GO) test -race -timeout 25m $$($(GO) list ./... | grep -v '^fresnel/integration')
	$(GO) test -timeout 10m ./fnapi # without the detector its connections are others

.PHONY: fuzz
fuzz: ## each fuzzer for FUZZTIME (5s), beyond the corpus that the unit tests run
	@GO=$(GO) internal/tools/fuzz.sh $(FUZZTIME)

.PHONY: integration
integration: build modules parts gosuites $(venv) ## whole-system tests: conformance, real Kafka, real MariaDB, crashes
	$(GO) test -count 1 -timeout 45m -v ./integration/conformance # -v shows the counts of Beam's suites
	$(GO) test -count 1 -timeout 45m -p 1 $$($(GO) list ./integration/... | grep -v /conformance)
	@for m in $(modules); do echo "test $$m"; (cd $$m && $(GO) test -count 1 ./...); done

.PHONY: versions
versions: build $(venv) ## run pipelines with older releases of Beam's SDK too, each in an environment of its own
	FRESNEL_VERSIONS=all $(GO) test -count 1 -timeout 60m -v -run Versions ./integration/run

.PHONY: bench
bench: build $(prism) $(venv) ## Fresnel beside its peers; ARGS="-together -runs 3 -out FILE" is best on a noisy machine, -page FILE draws plots
	$(GO) build -trimpath -o bin/ ./integration/bench/limit
	$(GO) run ./integration/bench $(ARGS)

.PHONY: soak
soak: $(venv) ## a stateful streaming job at full load for SOAK (10m): memory and latency must stay flat
	FRESNEL_SOAK=$(SOAK) $(GO) test -count 1 -timeout 0 -v -run Soak ./integration/bench

.PHONY: microbench
microbench: build parts $(venv) ## Go's benchmarks, for BENCHTIME (1s) each
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

.PHONY: parts
parts: $(kafka) ## fetch the real Kafka and MariaDB that tests run on
	@$(need) 'command -v mariadbd' mariadb-server-core mariadb-client-core
	@$(need) 'command -v java' openjdk-17-jre-headless

.PHONY: gosuites
gosuites: $(gosuites) ## build the tests of Beam's Go SDK that integration runs

.PHONY: tssuites
tssuites: $(tssuites) ## build the TypeScript SDK with its tests (needs Node.js), which integration runs where it is built

.PHONY: javasuites
javasuites: $(javasuites) ## fetch the tests of Beam's Java SDK, which integration runs where they are (needs a JDK)

.PHONY: venv
venv: $(venv) ## make .venv, with the Beam that tests and demo run

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf bin .cache .venv

# The rest makes files.

.PHONY: modules
modules:
	@for m in $(modules); do (cd $$m && $(GO) build -trimpath -o $(CURDIR)/bin/ ./...); done

$(golangci): # built from source: the Go module proxy is where every other dependency comes from
	GOBIN=$(CURDIR)/.cache/tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv .cache/tools/golangci-lint $@

$(prism): $(wildcard integration/bench/prism/*)
	cd integration/bench/prism && $(GO) build -trimpath -o $(CURDIR)/$@ .

$(gosuites): $(wildcard integration/conformance/gosdk/*)
	cd integration/conformance/gosdk && $(GO) test -c -ldflags='-s -w' -o $(CURDIR)/$(@D)/ $$($(GO) list -f '{{join .Imports " "}}')
	touch $@

$(tssuites): go.mod # its dependencies are what its lock file says
	@$(need) 'command -v npx' nodejs npm
	rm -rf $(@D) && mkdir -p .cache
	cp -R "$$($(GO) list -m -f '{{.Dir}}' github.com/apache/beam/sdks/v2)/typescript" $(@D) && chmod -R u+w $(@D)
	cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && npx ttsc -p .
	touch $@

$(javasuites): $(wildcard integration/conformance/javasdk/*)
	@$(need) 'command -v mvn' maven
	@$(need) 'command -v javac' openjdk-17-jdk-headless
	rm -rf $(@D) && mkdir -p $(@D)
	mvn --quiet --batch-mode -f integration/conformance/javasdk/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(@D)
	javac -nowarn -cp '$(@D)/*' -d $(@D)/classes $(filter %.java,$^)
	touch $@

$(venv): internal/tools/requirements.txt
	@$(need) '$(PYTHON) -c "import ensurepip"' python3.11 python3.11-venv
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v != (3, 11) and "needs Python 3.11, not %d.%d: make PYTHON=..." % v)'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(kafka): integration/parts/kafka/pom.xml
	@$(need) 'command -v mvn' maven
	rm -rf .cache/kafka.new
	mvn --quiet --batch-mode -f $< dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.cache/kafka.new
	rm -rf .cache/kafka && mv .cache/kafka.new .cache/kafka
	touch $@
