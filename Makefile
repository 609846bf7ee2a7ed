# make deps   what make test needs: Debian's packages, only those that are missing. Each target installs what it needs itself
# make build  the optimised binary, target/release/pointsman
# make test   every check and test, also when one fails; those that need root say "skipped" where they do not have it
# make test-zero-copy  zero-copy for real, in a guest with a recent kernel; docs/zero-copy.md says more
# make fuzz   any frames through the data path, and any text through what reads it; fuzz/README.md says more
# make bench  the benches, one after the other; fails at its end where a target was missed; bench/README.md says more
# make bench-veth  AF_XDP over veth beside DPDK's testpmd (some 200 MB of Debian packages); as root, some minutes
# make man    the manual pages, target/man
# make install  the binary of make build, its unit, manual, completions and example configs below DESTDIR and PREFIX
# make demo   a client, an edge node and three endpoints in network namespaces of this machine

# Debian's packages that each target needs; scripts/install-missing installs those that are missing, and starts no service.
BUILD_PACKAGES := build-essential clang libbpf-dev
# Network namespaces, and an HTTP server and client in them.
DEMO_PACKAGES := iproute2 ethtool curl python3
BENCH_PACKAGES := $(BUILD_PACKAGES) $(DEMO_PACKAGES)
# A recent kernel in qemu, with busybox, as an edge node.
GUEST_PACKAGES := $(BENCH_PACKAGES) iputils-ping busybox-static cpio kmod qemu-system-x86 xz-utils
# Peers that tests talk to, and tools that they ask about what came.
TEST_PACKAGES := $(GUEST_PACKAGES) llvm man-db bird2 faketime keepalived prometheus python3-jsonschema strace systemd tmux tshark \
                 valgrind

CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2

# Each target for so long.
FUZZ ?= forward protocol set config memories
FUZZ_SECONDS ?= 1800

# What needs root asks for it; building does not.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# What is installed, and where.
BINARY ?= target/release/pointsman
PREFIX ?= /usr/local

.PHONY: deps build test test-zero-copy bench bench-veth man install demo deny fuzz clean-namespaces

deps:
	@scripts/install-missing $(TEST_PACKAGES)

build:
	@scripts/install-missing $(BUILD_PACKAGES)
	cargo build --release --locked

test: deps
	@scripts/fetch-guest-kernel bookworm target/guest/stock
	@scripts/run-checks

# One guest at a time: each has the machine's cores.
test-zero-copy: build
	@scripts/install-missing $(GUEST_PACKAGES)
	@scripts/fetch-guest-kernel trixie-backports target/guest/recent
	POINTSMAN=$(abspath $(BINARY)) cargo test --locked --test zero_copy -- --test-threads=1 --nocapture

man:
	@$(BINARY) man --out target/man

# Into a package's tree as well: DESTDIR stands before every path, PREFIX in the unit, too. Nothing goes to /etc.
SHARE = $(DESTDIR)$(PREFIX)/share
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system

install:
	@test -x $(BINARY) || { echo "$(BINARY) is not there: run make build first" >&2; exit 1; }
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/pointsman
	install -d $(UNITS) $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|g' systemd/pointsman.service > $(UNITS)/pointsman.service
	chmod 644 $(UNITS)/pointsman.service
	install -D -m 644 systemd/pointsman.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/pointsman.conf
	install -D -m 644 -t $(SHARE)/doc/pointsman/examples conf/*
	$(BINARY) completions bash > $(SHARE)/bash-completion/completions/pointsman
	$(BINARY) completions zsh > $(SHARE)/zsh/site-functions/_pointsman
	$(BINARY) completions fish > $(SHARE)/fish/vendor_completions.d/pointsman.fish
	$(BINARY) man --out $(SHARE)/man/man8

# Licences, sources and advisories of the dependencies. The advisories' database comes from the network; where it cannot
# be had, that check is skipped, and says so.
deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny@$(CARGO_DENY)
	cargo deny --log-level error check bans licenses sources
	@if cargo deny fetch db >/dev/null 2>&1; then cargo deny check advisories; \
	else echo "skipped: the advisories' database cannot be reached"; fi

bench:
	@scripts/install-missing $(BENCH_PACKAGES)
	cargo bench --locked --no-fail-fast --bench forward --bench worker --bench maglev --bench latency --bench apply \
	--bench storm --bench idle --bench upgrade --bench consistency

bench-veth:
	@scripts/install-missing $(BENCH_PACKAGES) dpdk-dev libelf-dev zlib1g-dev
	bench/veth.sh

# What is found goes to fuzz/found; a crash to fuzz/artifacts.
fuzz:
	@scripts/install-missing $(BUILD_PACKAGES)
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-fuzz@$(CARGO_FUZZ)
	@mkdir -p $(FUZZ:%=fuzz/found/%)
	set -e; for target in $(FUZZ); do words=fuzz/dictionaries/$$target.dict; \
	cargo fuzz run --sanitizer none $$target fuzz/found/$$target fuzz/corpus/$$target -- \
	-max_total_time=$(FUZZ_SECONDS) -max_len=8192 $$(test ! -f $$words || echo -dict=$$words); done

demo: build
	@scripts/install-missing $(DEMO_PACKAGES)
	@$(SUDO) demo/demo target/release/pointsman

# What test runs that were killed left behind. Namespaces of runs that go on are not touched.
clean-namespaces:
	@$(SUDO) scripts/clean-namespaces
