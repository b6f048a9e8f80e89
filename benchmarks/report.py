"""How results are printed: ratios first, as medians over the rounds with their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from idle import Footprint
from load import Load, Measurement

Rounds = Mapping[str, Sequence[Measurement]]  # by contestant, in the order of the rounds


def ratios(rounds: Rounds, ours: str, peer: str, quantity: str) -> list[float]:
    """Ours divided by the peer's, round by round: neighbours in time share the machine's moods."""
    return [
        getattr(mine, quantity) / getattr(theirs, quantity)
        for mine, theirs in zip(rounds[ours], rounds[peer], strict=True)
    ]


def spread(numbers: Sequence[float]) -> str:
    """Median with the smallest and the largest."""
    if not numbers:
        return "n/a"
    return f"{median(numbers):.2f} ({min(numbers):.2f}-{max(numbers):.2f})"


def _absolute(measured: Sequence[Measurement]) -> str:
    if not measured:
        return "n/a"
    middle = {name: median(getattr(one, name) for one in measured) for name in ("tps", "user", "system")}
    return f"{middle['tps']:,.0f} tps, {middle['user']:.1f}+{middle['system']:.1f} µs"


def header(facts: Mapping[str, str]) -> str:
    """The facts that the numbers belong to."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def table(results: Mapping[Load, Rounds], ours: str, peer: str) -> str:
    """One line per protocol and client count."""
    lines = [("protocol", "clients", "throughput ratio", "CPU ratio", ours, peer)]
    for cell, rounds in results.items():
        both = rounds[ours] and rounds[peer]
        lines.append(
            (
                cell.name,
                str(cell.clients),
                spread(ratios(rounds, ours, peer, "tps")) if both else "n/a",
                spread(ratios(rounds, ours, peer, "cpu")) if both else "n/a",
                _absolute(rounds[ours]),
                _absolute(rounds[peer]),
            )
        )
    return _aligned(lines)


def instructions(counts: Mapping[Load, Mapping[str, float | None]], ours: str, peer: str) -> str:
    """One line per protocol and client count: what the program itself executes for a transaction, without the kernel."""
    lines = [("protocol", "clients", "instructions ratio", ours, peer)]
    for cell, by_name in counts.items():
        mine, theirs = by_name[ours], by_name[peer]
        lines.append(
            (
                cell.name,
                str(cell.clients),
                f"{mine / theirs:.3f}" if mine and theirs else "n/a",
                *(f"{count:,.0f}" if count else "n/a" for count in (mine, theirs)),
            )
        )
    return _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def memory(footprints: Mapping[str, Footprint]) -> str:
    """One line per contestant."""
    lines = ["memory per idle logged-in client, beyond a warmed-up process:"]
    for name, one in footprints.items():
        lines.append(
            f"  {name:<12} {one.private / 1000:.2f} kB private, {one.pss / 1000:.2f} kB Pss  "
            f"({one.clients:,} clients; process {one.before.private:,} -> {one.after.private:,} KiB)"
        )
    return "\n".join(lines)
