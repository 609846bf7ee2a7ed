#!/bin/sh
# AF_XDP over a veth pair: the best paced load without loss of pointsman, of DPDK's testpmd (forward modes io and macswap),
# and of two reflectors (this project's io/xsk, the crate afxdp), interleaved, on one pair. Needs root.
#
#   bench/veth.sh [OPTION...]    `bench/veth.sh --help` shows the options; bench/README.md says how to read the figures
#   bench/veth.sh --saturate     instead: more than they can forward, and what comes back of it; half a minute
#
# Exit code: 0; 1 where pointsman's figure is below testpmd's, or something is missing.
set -eu
cd "$(dirname "$0")/.."

help=
for word in "$@"; do
    case "$word" in
        -h | --help) help=yes ;;
        # Whoever names the contestants knows whether DPDK is needed; the program says so then.
        --contestant | --contestant=*) named=yes ;;
    esac
done

if [ -z "$help" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "bench/veth.sh needs root: it makes network namespaces and AF_XDP sockets" >&2; exit 1; }
    if [ -z "${named:-}" ] && ! command -v dpdk-testpmd >/dev/null; then
        echo "dpdk-testpmd is missing. Debian has it in dpdk-dev: run scripts/install-missing dpdk-dev," >&2
        echo "or leave DPDK out: bench/veth.sh --contestant pointsman --contestant io-xsk" >&2
        exit 1
    fi
fi

# The crate afxdp builds a libbpf of its own, which needs these; without them it does not take part.
features=
if [ -e /usr/include/libelf.h ] && [ -e /usr/include/zlib.h ]; then
    features="--features yardsticks"
elif [ -z "$help" ]; then
    echo "without the crate afxdp: scripts/install-missing libelf-dev zlib1g-dev" >&2
fi

# A raised priority keeps most of what else the machine does off both cores.
priority=
nice -n -20 true 2>/dev/null && priority="nice -n -20"

# shellcheck disable=SC2086 # none or several words
cargo bench --quiet --locked --no-run $features --bench veth
# shellcheck disable=SC2086
exec $priority cargo bench --quiet --locked $features --bench veth -- "$@"
