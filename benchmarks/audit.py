"""Phases beside kube-apiserver's own measurements, from its audit log.

    python benchmarks/audit.py spans.otlp.zst audit.jsonl.zst

kube-apiserver writes how long parts of a request took into the annotations `apiserver.latency.k8s.io/*` of its audit
events, of requests above 500 ms, or of all if it was built so. The audit id ties an event to a request's SERVER span.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import k8strace
import k8strace.audit
from k8strace.audit import Beside, quantile
from k8strace.audit.comparing import LONGEST, PARTS


def compare(spans: Path, log: Path) -> dict[str, list[Beside]]:
    """Annotation → what it says beside what we say, of every short request that has it."""
    audit = k8strace.Audit(k8strace.join(k8strace.read(spans)), log)
    return k8strace.audit.compare(audit.requests, audit.log.events)


def words(name: str) -> str:
    """What `ours` takes, in words."""
    told = {
        "total": "`prelude_ns` + `wall_ns`",
        "authentication": "`prelude_ns`",
        "etcd": "`etcd.*`, reads only",
    }
    phases = ", ".join(f"`{start}*`" if start.endswith(".") else f"`{start}`" for start in PARTS[name])
    return told.get(name, f"the longest {phases}" if name == LONGEST else phases)


def lines(found: Mapping[str, Sequence[Beside]]) -> Iterator[str]:
    """Print the comparison as a table in Markdown."""
    yield "| Annotation | Phases | Requests | Ours, ms | Theirs, ms | Difference / wall, median | p99 |"
    yield "|---|---|---|---|---|---|---|"
    for name, rows in found.items():
        if not rows:
            continue
        sums = (sum(row.ours for row in rows) / 1e6, sum(row.theirs for row in rows) / 1e6)
        yield (
            f"| {name} | {words(name)} | {len(rows):,} | {sums[0]:,.0f} | {sums[1]:,.0f}"
            f" | {quantile(rows, 0.5):.2%} | {quantile(rows, 0.99):.2%} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spans", type=Path, help="recording of kube-apiserver and etcd")
    parser.add_argument("log", type=Path, help="audit log of the same time, JSON lines, zstd")
    asked = parser.parse_args()
    print("\n".join(lines(compare(asked.spans, asked.log))))


if __name__ == "__main__":
    main()
