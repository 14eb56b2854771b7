# picluster: build, test and try. `make help` lists what there is.
# Prerequisites come from `make setup` (Debian packages; nothing else).

# Where Go is after its archive was unpacked as https://go.dev/doc/install says.
export PATH := $(PATH):/usr/local/go/bin
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FLAGS    = -trimpath -ldflags '-s -w -X picluster/internal/version.stamp=$(VERSION)'
AGENTS   = bin/firstboot-linux-arm64 bin/firstboot-linux-armv6
STORAGED = bin/storaged-linux-arm64 bin/storaged-linux-amd64

.PHONY: help setup build assets test bench demo e2e golden lint release clean $(AGENTS) $(STORAGED) bin/imagebuilder bin/clusterctl

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: ## install what building and testing need (Debian packages)
	.ci/setup

build: $(AGENTS) $(STORAGED) bin/imagebuilder bin/clusterctl ## build the programs into bin/

bin/imagebuilder:
	CGO_ENABLED=0 $(GO) build $(FLAGS) -o $@ ./imagebuilder
bin/clusterctl:
	CGO_ENABLED=0 $(GO) build $(FLAGS) -o $@ ./clusterctl
$(STORAGED): bin/storaged-linux-%:
	CGO_ENABLED=0 GOOS=linux GOARCH=$* $(GO) build $(FLAGS) -o $@ ./clusterctl/storaged
bin/firstboot-linux-arm64:
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build $(FLAGS) -o $@ ./firstboot
bin/firstboot-linux-armv6:
	CGO_ENABLED=0 GOOS=linux GOARCH=arm GOARM=6 $(GO) build $(FLAGS) -o $@ ./firstboot

# Built from Go modules, once; about fifteen minutes of processor time.
assets: setup ## build the parts of Kubernetes that tests run, into the lab's cache
	$(GO) run ./internal/lab/kube/cmd/labkube etcd kube-apiserver kube-controller-manager kube-scheduler kwok kubeadm >/dev/null

test: setup build assets ## everything that runs natively and fast
	$(GO) test -timeout 40m ./...

bench: build ## measure what people wait for
	.ci/setup --e2e
	$(GO) test -run '^$$' -bench . -benchtime 3x ./imagebuilder/... ./firstboot
	$(GO) test -timeout 60m -count 1 -v -tags 'e2e bench' -p 1 -run TestBench ./internal/e2e ./clusterctl/csi

demo: ## three cards of a demo cluster, written to files
	.ci/setup --demo
	$(MAKE) build
	$(GO) run ./internal/lab/demo

e2e: setup build ## emulator, loop devices and whole cards
	.ci/setup --e2e
	$(GO) test -timeout 360m -count 1 -p 1 -tags e2e ./internal/e2e ./internal/lab/... ./internal/release ./firstboot/join/kube ./clusterctl/...

golden: ## rewrite golden files and transcripts; read the diff afterwards
	UPDATE_GOLDEN=1 $(GO) test ./...

lint: ## format, vet, shell scripts, go.mod
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./... && $(GO) vet -tags 'e2e bench' ./internal/... ./firstboot/... ./clusterctl/...
	GOOS=darwin GOARCH=arm64 $(GO) vet ./imagebuilder/... ./clusterctl
	shellcheck --severity=error .ci/* $$(git ls-files "*.sh" | grep -v /start.sh)
	shellcheck --shell=sh overlays/boot/picluster/start.sh # which a shell reads, and nobody runs
	$(GO) mod tidy -diff

# A date of the source, in place of today's: the same source makes the same archives.
release: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
release: ## archives for Linux and macOS with everything inside, into dist/
	$(GO) run ./internal/release -version $(VERSION) dist

clean: ## remove bin/, dist/ and the demo's cards
	rm -rf bin dist demo
