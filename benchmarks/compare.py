"""Compare this pooler with PgBouncer, with itself, or another program that takes its ini file, on the same PostgreSQL.

    python benchmarks/compare.py                      throughput and CPU per transaction
    python benchmarks/compare.py --memory             memory per idle client as well
    python benchmarks/compare.py --tls clients        the same, encrypted
    python benchmarks/compare.py --texts 60,300       texts that never repeat
    python benchmarks/compare.py --peer self --peer-set session_state=pgbouncer

docs/benchmarks.md says how to read the result.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

import checkout  # noqa: F401 - makes the imports below work in a checkout that is not installed
import contestants
import encryption
import idle
import instructions
import load
import machine
import report
import texts

from pgpool_py.testing import PostgresServer, local_bin_dirs

OURS, PEER = "pgpool_py", "peer"
SELF = "self"
PROTOCOLS = ("simple", "extended", "prepared")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    add = parser.add_argument
    add("--peer", default=found, help="the program to compare with, or self (default: %(default)s)")
    add("--rounds", type=int, default=5, help="interleaved rounds (default: %(default)s)")
    add("--seconds", type=int, default=5, help="measured seconds of each run (default: %(default)s)")
    add("--clients", type=_numbers, default=[1, 32, 500], help="client counts (default: 1,32,500)")
    add("--protocols", type=_protocols, default=list(PROTOCOLS), help="of simple,extended,prepared")
    add("--texts", type=_sizes, default=[None], metavar="60,300", help="texts that never repeat, of so many bytes")
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
    add("--together", action="store_true", help="load both at the same time, on a machine that does other work too")
    add("--instructions", action="store_true", help="count the instructions of each transaction too (slow)")
    add("--memory", action="store_true", help="measure memory per idle client too")
    add("--idle-clients", type=int, default=10_000, help="how many for --memory (default: %(default)s)")
    add("--no-load", action="store_true", help="only what --memory or --instructions measure")
    add("--json", type=Path, metavar="FILE", help="write every single measurement")
    return parser.parse_args(words)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _sizes(text: str) -> list[int]:
    chosen = _numbers(text)
    if set(chosen) - set(texts.SHAPES):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(map(str, texts.SHAPES))}, got {text}")
    return chosen


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


def cells(options: argparse.Namespace) -> list[load.Load]:
    """What is measured."""
    return [
        load.Load(protocol, clients, size)
        for size, protocol, clients in itertools.product(options.texts, options.protocols, options.clients)
        if size is None or protocol in texts.PROTOCOLS
    ]


def run_load(
    options: argparse.Namespace, bin_dir: Path, running: Mapping[str, contestants.Contestant]
) -> dict[load.Load, dict[str, list[load.Measurement]]]:
    """All measurements, by load, then by contestant."""
    results: dict[load.Load, dict[str, list[load.Measurement]]] = {
        cell: {name: [] for name in running} for cell in cells(options)
    }
    for number, order in enumerate(turns(options.rounds, list(running)), 1):
        for cell, measured in results.items():
            able = [running[name] for name in order if cell.protocol in running[name].protocols]
            with ThreadPoolExecutor(len(able) if options.together else 1) as threads:
                runs = threads.map(lambda one, cell=cell: load.measure(bin_dir, one, cell, options.seconds), able)
                for contestant, one in zip(able, runs, strict=True):
                    measured[contestant.name].append(one)
                    print(
                        f"round {number}: {cell.name}, {cell.clients} clients, {contestant.name}: {one.tps:,.0f} tps, "
                        f"{one.cpu:.1f} µs",
                        file=sys.stderr,
                        flush=True,
                    )
    return results


def facts(
    options: argparse.Namespace, bin_dir: Path, running: Mapping[str, contestants.Contestant]
) -> dict[str, str]:
    """The header of the report."""
    apart = [
        f"{name} {key}={value}"
        for name, changes in ((OURS, options.our_set), (PEER, options.peer_set))
        for key, value in changes
    ]
    return {
        **machine.describe(),
        "PostgreSQL": machine.program_version([bin_dir / "postgres"])[0],
        **{name: "; ".join(one.version) for name, one in running.items()},
        **({"settings": "; ".join(apart)} if apart else {}),
        **({"TLS": options.tls} if options.tls else {}),
        "run": f"{options.rounds} rounds of {options.seconds} s, pool of {options.pool_size}"
        + (", both at the same time" if options.together else ""),
    }


def main(words: Sequence[str] | None = None) -> int:
    options = arguments(words)
    if options.peer is None:
        raise SystemExit("no pgbouncer found: install it, or name a program with --peer")
    if options.memory:
        idle.make_room(options.idle_clients)
    if options.instructions and not instructions.available():
        raise SystemExit("--instructions needs valgrind")
    local = [path for path in local_bin_dirs() if (path / "pgbench").exists()]
    with ExitStack() as stack:
        tls = stack.enter_context(encryption.prepared(options.tls))
        server = stack.enter_context(
            PostgresServer(
                bin_dir=local[0] if local else None, hba=["host all all 127.0.0.1/32 trust"], settings=tls.server
            )
        )
        own = {OURS, PEER} if options.peer == SELF else {OURS}
        peer = None if options.peer == SELF else [options.peer]
        start = {
            name: partial(contestants.Contestant, name, command, server, options.pool_size, dict(extra), tls)
            for name, command, extra in ((OURS, None, options.our_set), (PEER, peer, options.peer_set))
        }
        running = {}
        for name in start:
            running[name] = start[name]()
            stack.callback(running[name].close)
        header = facts(options, server.bin_dir, running)
        print(report.header(header), end="\n\n", flush=True)
        results, counts, footprints = {}, {}, {}
        if not options.no_load or options.instructions:
            load.fill(server.bin_dir, server.port, options.scale)
        if not options.no_load:
            results = run_load(options, server.bin_dir, running)
            print(report.table(results, OURS, PEER), end="\n\n", flush=True)
        if options.instructions:
            counts = {
                cell: {name: instructions.measure(server.bin_dir, start[name], name in own, cell) for name in start}
                for cell in cells(options)
            }
            print(report.instructions(counts, OURS, PEER), end="\n\n", flush=True)
        if options.memory:
            footprints = {name: idle.measure(one, options.idle_clients) for name, one in running.items()}
            print(report.memory(footprints))
    if options.json:
        measured = [
            {**asdict(cell), **{name: [one.as_dict() for one in runs] for name, runs in rounds.items()}}
            for cell, rounds in results.items()
        ]
        counted = [{**asdict(cell), **by_name} for cell, by_name in counts.items()]
        memory = {name: asdict(one) for name, one in footprints.items()}
        options.json.write_text(
            json.dumps({"header": header, "cells": measured, "instructions": counted, "memory": memory}, indent=1) + "\n"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
