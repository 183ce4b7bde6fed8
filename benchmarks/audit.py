"""Phases beside kube-apiserver's own measurements, from its audit log.

    python benchmarks/audit.py spans.otlp.zst audit.jsonl.zst

kube-apiserver writes how long parts of a request took into the annotations `apiserver.latency.k8s.io/*` of its audit
events, of requests above 500 ms, or of all if it was built so. The audit id ties an event to a request's SERVER span.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

import k8strace

PREFIX: Final = "apiserver.latency.k8s.io/"

PAIRS: Final[Mapping[str, tuple[str, ...]]] = {
    "mutating-webhook": ("webhook.mutating",),
    "validating-webhook": ("webhook.validating",),
    "authentication": ("prelude",),
    "authorization": ("apiserver.authorization.to_handler",),
    "apf-queue-wait": ("apiserver.flowcontrol.to_authorization",),
    "etcd": ("etcd.",),
    "serialize-response-object": ("apiserver.serialize.",),
    "response-write": ("apiserver.serialize.write", "apiserver.serialize.encode_and_write"),
    "total": ("",),
}
"""Annotation → beginnings of the phases that it is beside; "prelude" is `prelude_ns`, in no phase; "" is the wall."""

LONGEST: Final = frozenset({"validating-webhook"})
"""Annotations of calls that run at once: the longest call, not their sum."""

UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


class Beside(NamedTuple):
    """One phase of one request beside its annotation, in ns."""

    ours: int
    theirs: int
    wall: int

    @property
    def off(self) -> float:
        """The difference as a share of the wall time."""
        return abs(self.ours - self.theirs) / max(self.wall, 1)


def duration_ns(text: str) -> int:
    """Read a duration as Go writes it: "1m2.5s", "87.5µs"."""
    return round(sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)([a-zµ]+)", text)))


def annotations(path: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Read audit id → annotation → ns off an audit log, of events that have such."""
    with path.open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")
        for event in map(json.loads, lines):
            found = event.get("annotations", {}).items()
            told = {
                key.removeprefix(PREFIX): duration_ns(text) for key, text in found if key.startswith(PREFIX)
            }
            if told:
                yield event["auditID"], told


def audit_ids(requests: k8strace.Requests) -> dict[str, int]:
    """Audit id → place of the request."""
    spans = requests.spans
    place = {
        row: at
        for at, row in enumerate(zip(requests.column("trace_id"), requests.column("span_id"), strict=True))
    }
    ids = zip(spans.column("trace_id"), spans.column("span_id"), spans.attributes("audit-id"), strict=True)
    known = ((place.get((trace.hex(), span.hex())), audit) for trace, span, audit in ids if audit)
    return {audit: at for at, audit in known if at is not None}


def compare(spans: Path, log: Path) -> dict[str, list[Beside]]:
    """Annotation → what it says beside what we say, of every short request that has it."""
    requests = k8strace.join(k8strace.read(spans))
    attribution, of_audit = k8strace.attribute(requests), audit_ids(requests)
    found: dict[str, list[Beside]] = {name: [] for name in PAIRS}
    for audit, told in annotations(log):
        if audit not in of_audit or requests[of_audit[audit]].long_running:
            continue
        request = requests[of_audit[audit]]
        phases = attribution.phases(request.request)
        for name in PAIRS.keys() & told.keys():
            if name != "etcd" or {call.method for call in request.etcd_calls} <= {"KV/Range"}:
                found[name].append(Beside(ours(name, request, phases), told[name], request.wall_ns))
    return found


def ours(name: str, request: k8strace.Request, phases: Mapping[str, int]) -> int:
    """What we say where an annotation says something, in ns."""
    starts, prelude = PAIRS[name], request.prelude_ns or 0
    if name in LONGEST:
        spans = (span for _, span in request.tree.nodes(data=True) if span["phase"] in starts)
        return max((span["end_unix_nano"] - span["start_unix_nano"] for span in spans), default=0)
    if starts == ("prelude",):
        return prelude
    return sum(ns for phase, ns in phases.items() if phase.startswith(starts)) + (
        prelude if name == "total" else 0
    )


def words(name: str) -> str:
    """What `ours` takes, in words."""
    told = {
        "total": "`prelude_ns` + `wall_ns`",
        "authentication": "`prelude_ns`",
        "etcd": "`etcd.*`, reads only",
    }
    phases = ", ".join(f"`{start}*`" if start.endswith(".") else f"`{start}`" for start in PAIRS[name])
    return told.get(name, f"the longest {phases}" if name in LONGEST else phases)


def quantile(rows: Sequence[Beside], q: float) -> float:
    """A quantile of the difference as a share of wall, by nearest rank."""
    ranked = sorted(row.off for row in rows)
    return ranked[max(-(-len(ranked) * round(q * 100) // 100) - 1, 0)]


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
