# make deps   what building, testing and the demo need: Debian's packages, only those that are missing
# make build  the optimised binary, target/release/pointsman
# make test   every check and test; those that need root say "skipped" where they do not have it
# make fuzz   any frames through the data path, for FUZZ_SECONDS; fuzz/README.md says more
# make bench  every bench, one after the other; bench/README.md says more
# make demo   a client, an edge node and three endpoints in network namespaces of this machine

PACKAGES := build-essential clang llvm libbpf-dev iproute2 ethtool iputils-ping curl python3 \
            user-mode-linux busybox-static cpio bird2 valgrind

CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2

FUZZ_SECONDS ?= 1800

# What needs root asks for it; building does not.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: deps build test bench demo deny fuzz clean-namespaces

deps:
	@scripts/install-missing $(PACKAGES)

build: deps
	cargo build --release --locked

test: deps
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked
	cargo bench --locked --bench instructions
	@$(MAKE) --no-print-directory deny

# Licences, sources and advisories of the dependencies. The advisories' database comes from the network; where it cannot
# be had, that check is skipped, and says so.
deny:
	@cargo deny --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deny@$(CARGO_DENY)
	cargo deny --log-level error check bans licenses sources
	@if cargo deny fetch db >/dev/null 2>&1; then cargo deny check advisories; \
	else echo "skipped: the advisories' database cannot be reached"; fi

bench: deps
	cargo bench --locked --bench forward --bench worker --bench maglev --bench consistency

# What is found goes to fuzz/found; a crash to fuzz/artifacts.
fuzz: deps
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-fuzz@$(CARGO_FUZZ)
	@mkdir -p fuzz/found
	cargo fuzz run --sanitizer none forward fuzz/found fuzz/corpus/forward -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192

demo: build
	@$(SUDO) demo/demo target/release/pointsman

# What test runs that were killed left behind. Namespaces of runs that go on are not touched.
clean-namespaces:
	@$(SUDO) scripts/clean-namespaces
