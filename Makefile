# Everything a person or CI runs. `make help` lists the targets.
#
# Modules: gen, kit, broker, workers and deploy/sandbox are one workspace (go.work); deploy/tools stays outside, so that
# the requirements of the tools cannot raise the product's versions.

MODULES  := gen kit broker workers deploy/sandbox
TOOLS    := bin/buf bin/protoc-gen-go bin/protoc-gen-go-grpc bin/staticcheck
BENCHES  := ./broker/internal/bench ./deploy/sandbox/internal/bench
BASELINE := proto/baseline.binpb
GO       := go
FUZZTIME ?= 20s
SEEDS    ?= 4000

export GOTOOLCHAIN ?= auto

.PHONY: all help build demo test simulate interop fleet sweep bench check fuzz generate baseline clean tools grpcurl \
	check-format check-vet check-proto check-generated check-house check-modules

all: build

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## all binaries into bin/
	@mkdir -p bin
	$(GO) build -o bin/ ./broker/cmd/... ./workers/cmd/... ./deploy/sandbox/cmd/...

demo: build ## the main job, end to end, no set-up; KEEP=1 leaves it running, CHAOS=1 kills every process on the way, REDIS=1 keeps all state in a Redis
	bin/demo -bin bin $(if $(KEEP),-keep) $(if $(CHAOS),-chaos) $(if $(REDIS),-redis)

test: ## every module's tests, race detector on; installs what they need
	deploy/ensure gcc redis-server
	@for m in $(MODULES); do echo "== $$m"; (cd $$m && $(GO) test -race -shuffle=on ./...) || exit 1; done
	@$(MAKE) --no-print-directory simulate

# Without the race detector, which the same test has in `test`: many more worlds in the same time. In its own
# folder go test shows what a test prints.
simulate: ## the broker fleet in SEEDS (4000) simulated worlds of trouble; SIM_SEED=n is one of them, with its trace
	cd broker/internal/keeper/simulation && SIM_SEEDS=$(SEEDS) $(GO) test -count=1 -run '^TestSimulation$$'

interop: build ## imap-worker, pop3-worker and smtp-worker against real Dovecot and Postfix on high loopback ports; installs them
	deploy/ensure dovecot-imapd dovecot-lmtpd dovecot-pop3d postfix
	bin/interop -bin bin

fleet: build ## workers that share mailboxes, kill -9 of one after the other; MESSAGES=10000 FOR=90s
	deploy/ensure redis-server
	bin/fleet -bin bin $(if $(MESSAGES),-messages $(MESSAGES)) $(if $(FOR),-for $(FOR))

sweep: build ## mail out with the link cut and the workers killed -9 at every step; MESSAGES=10000 FOR=3m WORKERS=1 SEED=n
	$(if $(filter-out 1,$(WORKERS)),deploy/ensure redis-server)
	bin/sweep -bin bin $(if $(MESSAGES),-messages $(MESSAGES)) $(if $(FOR),-for $(FOR)) $(if $(WORKERS),-workers $(WORKERS)) $(if $(SEED),-seed $(SEED))

# Each of the programs adds its lines to one file, so that all of them come last.
bench: build ## the benchmarks, both sides in one run, as tables; ends with a line for each row
	deploy/ensure redis-server dovecot-imapd dovecot-pop3d dovecot-lmtpd isync mpop fetchmail getmail6 postfix
	$(GO) build -o bin/ ./workers/internal/straight
	@rm -f bin/bench.txt
	@for b in $(BENCHES); do $(GO) run $$b -bin bin -results bin/bench.txt || exit 1; done
	@cat bin/bench.txt

check: check-format check-vet check-proto check-generated check-house check-modules ## format, vet, lint, protos, generated code, import rules, modules
	@echo "check: ok"

check-format:
	@out=$$(gofmt -l $(MODULES) deploy/tools); test -z "$$out" || { echo "gofmt -w needed:"; echo "$$out"; exit 1; }

check-vet: bin/staticcheck
	@for m in $(MODULES); do echo "== vet, staticcheck $$m"; (cd $$m && $(GO) vet ./... && $(CURDIR)/bin/staticcheck ./...) || exit 1; done

check-proto: bin/buf
	bin/buf lint
	bin/buf format -d --exit-code
	bin/buf breaking --against $(BASELINE)

# The generated code is made anew beside the committed one: the tree is not touched.
check-generated: $(TOOLS)
	@rm -rf bin/generated && mkdir -p bin/generated
	@bin/buf generate -o bin/generated
	@diff -r gen/mailporter bin/generated/gen/mailporter || { echo "generated code is stale: make generate"; exit 1; }
	@rm -rf bin/generated

check-house:
	GOWORK=off $(GO) -C deploy/tools test -count=1 ./...

check-modules:
	@for m in $(MODULES); do echo "== module $$m"; \
		GOWORK=off $(GO) -C $$m mod tidy -diff && GOWORK=off $(GO) -C $$m build ./... || exit 1; done
	@GOWORK=off $(GO) -C deploy/tools mod tidy -diff

fuzz: ## every fuzz target for FUZZTIME (20s)
	@for m in $(MODULES); do \
		grep -rlE '^func Fuzz' $$m --include='*_test.go' | xargs -r -n1 dirname | sort -u | while read -r d; do \
			grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$d/*_test.go | cut -c6- | while read -r f; do \
				echo "== $$d $$f"; (cd $$d && $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x .) || exit 1; \
			done || exit 1; \
		done || exit 1; \
	done

generate: $(TOOLS) ## Go code from the protos
	bin/buf format -w
	rm -rf gen/mailporter
	bin/buf generate

baseline: bin/buf ## accept the protos as what must not break; only on purpose, with a line in CHANGELOG.md
	bin/buf build -o $(BASELINE)

tools: $(TOOLS) ## the pinned tools into bin/

grpcurl: bin/grpcurl ## bin/grpcurl, to talk to a broker by hand

bin/grpcurl: TOOL = github.com/fullstorydev/grpcurl/cmd/grpcurl
bin/buf: TOOL = github.com/bufbuild/buf/cmd/buf
bin/protoc-gen-go: TOOL = google.golang.org/protobuf/cmd/protoc-gen-go
bin/protoc-gen-go-grpc: TOOL = google.golang.org/grpc/cmd/protoc-gen-go-grpc
bin/staticcheck: TOOL = honnef.co/go/tools/cmd/staticcheck

bin/grpcurl $(TOOLS): deploy/tools/go.mod
	@mkdir -p bin
	GOWORK=off $(GO) -C deploy/tools build -o $(CURDIR)/$@ $(TOOL)
	@touch $@

clean: ## what was built
	rm -rf bin
