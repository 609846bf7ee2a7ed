#!/usr/bin/python3
"""Writes cases.json: frames that come in, and what must become of each.

Everything expected here is made without a line of pointsman: scapy (2.5, Debian's python3-scapy) builds the outer
headers with their lengths and checksums, and flow_hash.py follows the flow hash's definition by itself. Run it after
changing a case, and commit what it writes:

    cd tests/golden && ./make.py

A case has: description, config (where it is not config.toml), after (seconds since the case before it in the same
config; 0.1 where it is not said), times (the frame comes that often, a microsecond apart, and the same becomes of each;
once where it is not said), in (hex), verdict, reason (of a drop), service and endpoint (null: there must be none;
absent: not looked at), out (hex; a list where several frames leave for the one that came).

The cases of a config are replayed in one capture, in their order: a fragment or a path MTU is remembered for those
behind it.
"""

import json
import sys

sys.dont_write_bytecode = True

from chapters import echoes, encapsulations, fragments, headers, icmp_errors, loops, malformed, matching, passing
from chapters import header_chains, limits, path_mtu, stations, too_big
from flow_hash import check_siphash
from frames import HERE
from table import CASES

CHAPTERS = (
    headers,
    encapsulations,
    matching,
    passing,
    stations,
    header_chains,
    echoes,
    malformed,
    icmp_errors,
    fragments,
    too_big,
    loops,
    limits,
    # The last: capture time passes there.
    path_mtu,
)


def main():
    check_siphash()
    for chapter in CHAPTERS:
        for section in chapter.CHAPTER:
            section()
    descriptions = [entry["description"] for entry in CASES]
    twice = {name for name in descriptions if descriptions.count(name) > 1}
    assert not twice, f"descriptions of two cases: {twice}"
    with open(HERE / "cases.json", "w") as file:
        json.dump(CASES, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
