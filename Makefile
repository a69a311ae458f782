# kgent: build, demonstrate, test. See README.md.
GO      ?= go
REQUEST ?= trace new TCP connections with process, source and destination address and port, IPv4 and IPv6
DURATION ?= 10s

# What the program needs at run time, and what its tests need besides: gcc is
# for Go's race detector, which does not build without cgo. Node runs Slack's
# and Discord's own clients; one that did not come from Debian will do as well,
# and would not suffer Debian's npm beside it.
PACKAGES      = clang-19
NODE_PACKAGES = $(shell command -v node >/dev/null || echo nodejs) $(shell command -v npm >/dev/null || echo npm)
TEST_PACKAGES = $(PACKAGES) bpftrace gcc libc6-dev binutils bash make procps iproute2 mount util-linux redis-server openssl z3 qemu-system-x86 $(NODE_PACKAGES)
BENCH_PACKAGES = $(TEST_PACKAGES)

.PHONY: build embeddings demo try screenshots test test-vm test-redis8 test-bpftrace eval eval-check soak soak-machine mutation proof-cost proof-kernels proof-matrix codegen-recipes retrieval bench vet lint-deploy fuzz clean

build:
	$(GO) build -trimpath -o bin/kgent ./cmd/kgent

# What kgent search compares meanings with, beside the program: without it, words.
EMBEDDINGS = bin/kgent.embeddings
embeddings:
	@deploy/debian-packages $(NODE_PACKAGES)
	@GO='$(GO)' deploy/embeddings $(EMBEDDINGS)

# One command from a fresh clone to the kernel's answer. YES=1 approves.
demo:
	@deploy/debian-packages $(PACKAGES)
	@$(GO) build -trimpath -o bin/kgent ./cmd/kgent
	@bin/kgent demo --duration '$(DURATION)' $(if $(YES),--yes) "$$REQUEST"

# As it was written: make would expand a $ in it, $(shell …) included.
override export REQUEST := $(value REQUEST)

# A whole team on this host, without any account: two pages to play people on,
# at other addresses with SLACK=127.0.0.1:8066 DISCORD=127.0.0.1:8092.
try:
	@deploy/debian-packages $(PACKAGES) redis-server
	@$(GO) build -trimpath -o bin/kgent ./cmd/kgent
	@$(GO) build -trimpath -o bin/kgent-try ./bot/try
	@exec bin/kgent-try $(if $(VERBOSE),--verbose) $(if $(SLACK),--slack '$(SLACK)') $(if $(DISCORD),--discord '$(DISCORD)')

# Pictures of every card, from the stand-ins' pages: out/screens.
screenshots:
	@deploy/debian-packages $(TEST_PACKAGES) chromium
	$(GO) test -count 1 -timeout 60m -tags screens -run TestScreens ./bot/teamtest -args -screens $(CURDIR)/out/screens

# Everything that can run here: real kernel, real clang.
test: vet
	@deploy/debian-packages $(TEST_PACKAGES)
	@GO='$(GO)' deploy/embeddings $(EMBEDDINGS) || echo "testing the search by words only: its model could not be fetched"
	$(GO) test -race -timeout 30m ./...

vet:
	@test -z "$$(gofmt -l agent approvals bot cmd executor retrieval)" || { echo "not gofmt-ed:"; gofmt -l agent approvals bot cmd executor retrieval; exit 1; }
	$(GO) vet ./...

# The Helm chart, what it renders, the manifest, the Dockerfile and systemd's units.
HELM = v3.19.0
lint-deploy:
	@deploy/debian-packages $(NODE_PACKAGES) systemd
	@GO='$(GO)' HELM=$(HELM) deploy/lint/run out/lint

# Every kind of probe on this kernel, and in qemu on Debian's 5.10, 6.1, 6.12 and the
# newest of its backports; and there, too, that what replaces a hook sees what it saw. Of these test has a short form, on one of them.
test-vm:
	@deploy/debian-packages $(TEST_PACKAGES)
	KGENT_VM_SUITES='$(SUITES)' $(GO) test -count 1 -timeout 60m -v -run '^(TestKinds|TestElsewhere$$)' ./executor/probe ./agent/alternative
SUITES = bullseye bookworm trixie trixie-backports

# How well requests are answered, on real workloads: MODE=recipes, gate, noisy, or
# with a model (OPENAI_BASE_URL, KGENT_MODEL) direct, paper, full; CASES='who-*'. An
# interrupted one goes on with RESUME=1.
MODE ?= recipes
CASES ?= *
eval: build
	@deploy/debian-packages $(TEST_PACKAGES)
	bin/kgent eval --mode $(MODE) --cases '$(CASES)' --out out/eval/$(MODE) $(if $(RESUME),--resume)

# That every oracle tells its right program from the wrong ones, really run.
eval-check: build
	@deploy/debian-packages $(TEST_PACKAGES)
	bin/kgent eval check '$(CASES)'

# Faults that take minutes: what test runs in a short form, in all variants.
soak:
	@deploy/debian-packages $(TEST_PACKAGES)
	KGENT_SOAK=1 $(GO) test -race -timeout 30m -v ./bot/faults ./bot/teamtest

# 100,000 random programs, run by the kernel and by the machine that proves.
soak-machine:
	@deploy/debian-packages $(TEST_PACKAGES)
	KGENT_SOAK=100000 $(GO) test -timeout 60m -v -run TestAgreesWithKernel ./agent/verify/symbolic

# How many wrong variants of the recipes the proof catches: tables, and every
# one that it does not. MUTANTS=3 judges three of each operator on each recipe
# instead of a sample, MUTANTS=all all.
mutation:
	@deploy/debian-packages $(TEST_PACKAGES)
	KGENT_SOAK=1 KGENT_MUTANTS=$(MUTANTS) $(GO) test -count 1 -timeout 24h -v -run '^TestMutation$$' ./agent/verify

# What a proof costs against the size of a program, in instructions, branches,
# paths, map operations and invocations: pictures and a table in out/proof-cost.
proof-cost:
	@deploy/debian-packages $(TEST_PACKAGES)
	KGENT_PROOF_COST=$(CURDIR)/out/proof-cost $(GO) test -count 1 -timeout 60m -v -run '^TestCost$$' ./agent/verify/proof

# Every recipe on the kernels of Debian 11, 12 and 13, of which it fetches the
# types: a table of what is VERIFIED where, and what old kernels lack.
KERNELS = $(CURDIR)/out/kernels
proof-kernels:
	@deploy/debian-packages $(TEST_PACKAGES) lz4 zstd
	@for suite in bullseye bookworm trixie; do deploy/debian-btf $$suite linux-image-cloud-amd64 $(KERNELS) || exit 1; done
	@rm -f $(KERNELS)/table.txt
	KGENT_KERNELS=$(KERNELS) $(GO) test -count 1 -timeout 90m -run '^TestKernels$$' ./agent/verify; status=$$?; cat $(KERNELS)/table.txt; exit $$status

# Every recipe however clang translates it, -O1 to -Os and -mcpu=v2 to v4: the
# same verdict.
proof-matrix:
	@deploy/debian-packages $(TEST_PACKAGES)
	KGENT_MATRIX=1 $(GO) test -count 1 -timeout 90m -v -run '^TestTranslations$$' ./agent/verify

# The program of every contract here, written, compiled, loaded and proved; and of RANDOM
# contracts, which must not be REFUTED.
RANDOM ?= 60
codegen-recipes:
	@deploy/debian-packages $(TEST_PACKAGES)
	KGENT_SOAK=$(RANDOM) $(GO) test -count 1 -timeout 90m -v -run '^(TestRecipes|TestCorpus|TestRandomContracts)$$' ./agent/codegen

# All that speaks to Redis, over the Redis 8 of the next Debian.
REDIS8 = $(CURDIR)/out/redis8
test-redis8:
	@deploy/debian-packages $(TEST_PACKAGES)
	@deploy/debian-root trixie $(REDIS8) redis-server
	@mkdir -p $(REDIS8)/path && ln -sf ../run $(REDIS8)/path/redis-server
	@PATH=$(REDIS8)/path:$$PATH redis-server --version
	PATH=$(REDIS8)/path:$$PATH $(GO) test -count 1 ./executor/bus/... ./approvals/... ./bot/thread ./bot/terminal ./bot/teamtest ./retrieval

# Scripts, over the bpftrace of the next Debian: read, translated, proved and run.
BPFTRACE23 = $(CURDIR)/out/bpftrace23
test-bpftrace:
	@deploy/debian-packages $(TEST_PACKAGES)
	@deploy/debian-root trixie $(BPFTRACE23) bpftrace
	@gcc -O -Wall -DROOT='"$(BPFTRACE23)"' -DNAME='"bpftrace"' -o $(BPFTRACE23)/bpftrace deploy/launch.c
	@$(BPFTRACE23)/bpftrace --version
	KGENT_BPFTRACE=$(BPFTRACE23)/bpftrace $(GO) test -count 1 -timeout 20m ./agent/program/bpftrace ./executor/tracer

# What the search finds of requests that were labelled by hand, by words, by meaning and
# by both: a table.
retrieval:
	@deploy/debian-packages $(TEST_PACKAGES)
	@GO='$(GO)' deploy/embeddings $(EMBEDDINGS)
	KGENT_ABLATION=1 $(GO) test -count 1 -timeout 20m -v -run '^TestAblation$$' ./retrieval

# Ratios against bpftrace and the plain reader, in the same run.
bench:
	@deploy/debian-packages $(BENCH_PACKAGES)
	@deploy/debian-root trixie $(REDIS8) redis-server
	@GO='$(GO)' deploy/embeddings $(EMBEDDINGS)
	KGENT_REDIS8=$(REDIS8)/run deploy/bench

# Every fuzz target for a while each: make fuzz FUZZTIME=1m
FUZZTIME ?= 20s
fuzz:
	@deploy/debian-packages $(TEST_PACKAGES)
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

clean:
	rm -rf bin out
