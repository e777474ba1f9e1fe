# Each target is a command you could type; `make` alone lists them.
T ?= 30s
SEEDS ?= 1000
FROM ?= 1
export BARGE_TOOLS := $(CURDIR)/.tools
LINT := go tool -modfile=tools/lint/go.mod golangci-lint

.PHONY: help generate demo build test tools check fmt lint fuzz bench prove vuln tidy load sim mutants models
help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: build ## one agent on a local directory, with generated logs, a table and the console
	bin/barge demo

build: ## bin/barge
	go build -o bin/barge ./cmd/barge

test: ## everything: set-up, vet, models, unit tests, a share of the long proofs, then real clients and readers
	@scripts/phase.sh setup scripts/setup-test-tools.sh
	@scripts/phase.sh vet go vet -tags synctests,realworld ./...
	@scripts/phase.sh models scripts/models.sh
	@scripts/phase.sh unit go test -tags synctests ./...
	@scripts/phase.sh sim go run ./sim/seeds -count 0 -for 240s
	@scripts/phase.sh mutants go run ./sim/mutants -for 240s
	@scripts/phase.sh realworld go test -count=1 -timeout 30m -parallel 4 -tags realworld ./objectstore/... ./metadata/bucketlog ./metadata/pglog ./tableflow/... $$(go list -tags realworld ./test/... | grep -v /test/suites)
	@scripts/phase.sh suites go test -count=1 -timeout 15m -parallel 4 -tags realworld ./test/suites/...

prove: ## the long proofs with their full counts; the figures are in docs/proofs.md
	@scripts/phase.sh setup scripts/setup-test-tools.sh
	@scripts/phase.sh models scripts/models.sh
	@scripts/phase.sh histories go test -count=1 -v -tags synctests -run Linearizable ./metadata ./metadata/bucketlog
	@scripts/phase.sh sim go run ./sim/seeds -count 20000
	@scripts/phase.sh mutants go run ./sim/mutants
	@BARGE_SUITES=all scripts/phase.sh suites go test -count=1 -timeout 60m -tags realworld -v -run 'Kgo|KafkaPorted|Librdkafka' ./test/suites
	BARGE_KILLS=100 BARGE_STORM_SECONDS=120 BARGE_PAUSE_SECONDS=600 BARGE_OUTAGE_SECONDS=60 go test -count=1 -timeout 60m -parallel 4 -tags realworld -v -run 'KilledOverAndOver|TestStoreThat|TestStopAndStart|TestStalledStore|TestAgentsThatSlept|TestAgentsInTheirStores' ./test/...

tools: ## only the set-up of make test, in .tools
	scripts/setup-test-tools.sh

check: ## before a commit: formatting, vet, lint, short tests under the race detector
	$(LINT) fmt --diff
	go vet -tags synctests,realworld ./...
	$(LINT) run ./...
	go test -race -short -tags synctests ./...

fmt: ## format all Go code
	$(LINT) fmt

lint: ## lint alone
	$(LINT) run ./...

models: ## spin checks the models of truncation and of sealing, and that each rule is needed
	scripts/models.sh

fuzz: ## every fuzz target for T each: make fuzz T=30s
	scripts/fuzz.sh $(T)

sim: ## simulated clusters: one by SEED=n, or SEEDS=n of them from FROM=n on, or as many as SIM_SECONDS=n allows
	go run ./sim/seeds $(if $(SEED),-seed $(SEED),-from $(FROM) $(if $(SIM_SECONDS),-count 0 -for $(SIM_SECONDS)s,-count $(SEEDS)))

mutants: ## break the product rule by rule and demand that sim's checkers notice: MUTANTS=regexp or PART=k/n for some, MUTANTS_SECONDS=n for as many as fit
	go run ./sim/mutants -run '$(MUTANTS)' $(if $(PART),-part $(PART)) $(if $(MUTANTS_SECONDS),-for $(MUTANTS_SECONDS)s)

generate: ## the Go code of peer/peerpb/peer.proto, and docs/protocol.md
	cd tools && go build -o ../bin/protogen ./protogen
	bin/protogen peer/peerpb peer.proto protoc-gen-go protoc-gen-connect-go
	go test ./ingest -run TestProtocolPage -update

vuln: ## known vulnerabilities; fetches its database
	go tool -modfile=tools/go.mod govulncheck ./...

tidy: ## go.mod and go.sum of the product and of the tools
	go mod tidy
	cd tools && go mod tidy
	cd tools/lint && go mod tidy
	cd tools/versitygw && go mod tidy

bench: ## the micro benchmarks, five runs each, summed up by benchstat
	go test -run '^$$' -bench . -benchmem -count=5 ./... | tee bench.out && go tool -modfile=tools/go.mod benchstat bench.out

load: build ## whole agents under load, against the least a server can do: JSON in load.json
	bin/barge bench produce --floor --blocks 5 --json load.json
