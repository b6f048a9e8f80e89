"""Compare this pooler with PgBouncer, or another program that takes its ini file, on the same PostgreSQL.

    python benchmarks/compare.py                      throughput and CPU per transaction
    python benchmarks/compare.py --memory             memory per idle client as well
    python benchmarks/compare.py --tls clients        the same, encrypted

docs/benchmarks.md says how to read the result.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import checkout  # noqa: F401 - makes the imports below work in a checkout that is not installed
import contestants
import encryption
import idle
import load
import machine
import report

from pgpool_py.testing import PostgresServer, local_bin_dirs

OURS, PEER = "pgpool_py", "peer"
PROTOCOLS = ("simple", "extended", "prepared")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    add = parser.add_argument
    add("--peer", default=found, help="the program to compare with (default: %(default)s)")
    add("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    add("--seconds", type=int, default=5, help="measured seconds of each run (default: %(default)s)")
    add("--clients", type=_numbers, default=[1, 32, 500], help="client counts (default: 1,32,500)")
    add("--protocols", type=_protocols, default=list(PROTOCOLS), help="of simple,extended,prepared")
    add("--pool-size", type=int, default=20, help="server connections (default: %(default)s)")
    add("--scale", type=int, default=10, help="pgbench scale factor (default: %(default)s)")
    add(
        "--our-set",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a line of our ini file",
    )
    add(
        "--peer-set",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a line of the peer's",
    )
    add("--tls", choices=encryption.CHOICES, help="encrypt the connections of clients, or those of servers too")
    add("--memory", action="store_true", help="measure memory per idle client too")
    add("--idle-clients", type=int, default=10_000, help="how many for --memory (default: %(default)s)")
    add("--no-load", action="store_true", help="only what --memory measures")
    add("--json", type=Path, metavar="FILE", help="write every single measurement")
    return parser.parse_args(words)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _protocols(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(PROTOCOLS):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(PROTOCOLS)}, got {','.join(unknown)}")
    return chosen


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected key=value, got {text!r}")
    return key.strip(), value.strip()


def turns(rounds: int, names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Who runs in which order: A B, then B A, so that neither always profits from being second."""
    for number in range(rounds):
        yield names if number % 2 == 0 else names[::-1]


def run_load(
    options: argparse.Namespace, bin_dir: Path, running: Mapping[str, contestants.Contestant]
) -> dict[tuple[str, int], dict[str, list[load.Measurement]]]:
    """All measurements, by protocol and client count, then by contestant."""
    cells = list(itertools.product(options.protocols, options.clients))
    results: dict[tuple[str, int], dict[str, list[load.Measurement]]] = {
        cell: {name: [] for name in running} for cell in cells
    }
    for number, order in enumerate(turns(options.rounds, list(running)), 1):
        for protocol, clients in cells:
            for name in order:
                if protocol in running[name].protocols:
                    one = load.measure(bin_dir, running[name], protocol, clients, options.seconds)
                    results[protocol, clients][name].append(one)
                    print(
                        f"round {number}: {protocol}, {clients} clients, {name}: {one.tps:,.0f} tps, "
                        f"{one.cpu:.1f} µs",
                        file=sys.stderr,
                    )
    return results


def facts(
    options: argparse.Namespace, bin_dir: Path, running: Mapping[str, contestants.Contestant]
) -> dict[str, str]:
    """The header of the report."""
    return {
        **machine.describe(),
        "PostgreSQL": machine.program_version([bin_dir / "postgres"])[0],
        **{name: "; ".join(one.version) for name, one in running.items()},
        **({"TLS": options.tls} if options.tls else {}),
        "run": f"{options.rounds} rounds of {options.seconds} s, pool of {options.pool_size}",
    }


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    if options.peer is None:
        raise SystemExit("no pgbouncer found: install it, or name a program with --peer")
    if options.memory:
        idle.make_room(options.idle_clients)
    local = [path for path in local_bin_dirs() if (path / "pgbench").exists()]
    with ExitStack() as stack:
        tls = stack.enter_context(encryption.prepared(options.tls))
        server = stack.enter_context(
            PostgresServer(
                bin_dir=local[0] if local else None, hba=["host all all 127.0.0.1/32 trust"], settings=tls.server
            )
        )
        running: dict[str, contestants.Contestant] = {}
        for name, command, extra in ((OURS, None, options.our_set), (PEER, [options.peer], options.peer_set)):
            running[name] = contestants.Contestant(name, command, server, options.pool_size, dict(extra), tls)
            stack.callback(running[name].close)
        header = facts(options, server.bin_dir, running)
        print(report.header(header), end="\n\n", flush=True)
        results, footprints = {}, {}
        if not options.no_load:
            load.fill(server.bin_dir, server.port, options.scale)
            results = run_load(options, server.bin_dir, running)
            print(report.table(results, OURS, PEER), end="\n\n", flush=True)
        if options.memory:
            footprints = {name: idle.measure(one, options.idle_clients) for name, one in running.items()}
            print(report.memory(footprints))
    if options.json:
        cells = [
            {
                "protocol": protocol,
                "clients": clients,
                **{name: [one.as_dict() for one in runs] for name, runs in rounds.items()},
            }
            for (protocol, clients), rounds in results.items()
        ]
        memory = {name: asdict(one) for name, one in footprints.items()}
        options.json.write_text(
            json.dumps({"header": header, "cells": cells, "memory": memory}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
