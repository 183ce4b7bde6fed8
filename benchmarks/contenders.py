"""The contenders: one job each, and a process that does it when told to.

    python benchmarks/contenders.py NAME FILE [no-gc]    # then, line by line: answers, run, run SECONDS

The first three do the whole job from the file. The rest (`DECODERS`) start from messages in memory.

Each line is answered by one line of JSON. A process does the job of one contender on one file, so that
what another leaves behind in memory or in caches of Python is not its concern.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import baseline
import spent
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import k8strace
from k8strace.components import below

JOB = ("read", "join", "attribute")
"""The steps that are compared."""

Lap = Callable[[str], None]
Answers = dict[str, tuple[int, dict[str, int]]]
"""Trace and span id → wall time and phases, in ns."""


class Contender(Protocol):
    """How to do the job on a file, and what to do with the result; `lap` ends a step."""

    def __call__(self, path: Path, lap: Lap) -> Any:
        """Do the job and return everything made on the way, so that it is freed off the clock."""

    def take_out(self, result: Any, lap: Lap) -> None:
        """Go on to what the others have already, or what users ask for next: timed, but not compared."""

    def answers(self, result: Any) -> Answers:
        """Give the answers in a form that is the same for all."""

    def facts(self, result: Any) -> dict[str, Any]:
        """Say what else is worth knowing."""


class Ours:
    """k8strace, as its users call it."""

    def __call__(self, path: Path, lap: Lap) -> k8strace.Attribution:
        """Read, join, attribute."""
        spans = k8strace.read(path)
        lap("read")
        requests = k8strace.join(spans)
        lap("join")
        attribution = k8strace.attribute(requests)
        lap("attribute")
        return attribution

    def take_out(self, result: k8strace.Attribution, lap: Lap) -> None:
        """Make a dictionary of every answer, as the baseline does; then group them."""
        _ = [result.phases(request) for request in range(len(result))]
        lap("to dictionaries")
        result.by("verb", "resource")
        lap("by verb and resource")

    def answers(self, result: k8strace.Attribution) -> Answers:
        """Give wall time and phases of every request."""
        rows = zip(
            *(result.requests.column(name) for name in ("trace_id", "span_id", "wall_ns")), strict=True
        )
        return {
            f"{trace_id}:{span_id}": (wall_ns, result.phases(request))
            for request, (trace_id, span_id, wall_ns) in enumerate(rows)
        }

    def facts(self, result: k8strace.Attribution) -> dict[str, int]:
        """Say what the spans hold."""
        columns, texts = result.requests.spans.nbytes
        return {"spans": len(result.requests.spans), "column_bytes": columns, "text_bytes": texts}


class Theirs:
    """Official classes, dictionaries and networkx, with our taxonomy."""

    def __init__(self) -> None:
        self._taxonomy = k8strace.Taxonomy()
        self._resolve = self._taxonomy.resolve

    def _phase(self, signature: baseline.Signature) -> str:
        return self._resolve(k8strace.Signature(*signature))[0]

    def _mark(self, signature: baseline.Signature, event: str) -> tuple[str | None, str | None] | None:
        return self._resolve(k8strace.Signature(*signature))[1].get(event.casefold())

    def _yields(self, signature: baseline.Signature) -> bool:
        return self._taxonomy.yields(k8strace.Signature(*signature))

    def __call__(self, path: Path, lap: Lap) -> tuple[baseline.Trees, list[baseline.RequestTime]]:
        """Read, join, attribute."""
        spans = baseline.read(baseline.load(path))
        lap("read")
        trees = baseline.Trees(spans)
        lap("join")
        requests = baseline.attribute(trees, self._phase, self._mark, below=below, yields=self._yields)
        lap("attribute")
        return trees, requests

    def take_out(self, result: tuple[baseline.Trees, list[baseline.RequestTime]], lap: Lap) -> None:
        """Do nothing: the answers are dictionaries."""

    def answers(self, result: tuple[baseline.Trees, list[baseline.RequestTime]]) -> Answers:
        """Give wall time and phases of every request, but no phases of no time."""
        return {
            f"{each.trace_id.hex()}:{each.span_id.hex()}": (
                each.wall_ns,
                {phase: ns for phase, ns in each.phases.items() if ns},
            )
            for each in result[1]
        }

    def facts(self, result: tuple[baseline.Trees, list[baseline.RequestTime]]) -> dict[str, int]:
        """Say how many spans there were."""
        return {"spans": len(result[0].spans)}


class Parse:
    """The official classes alone: parse the messages, and look at nothing."""

    def __call__(self, path: Path, lap: Lap) -> list[ExportTraceServiceRequest]:
        """Parse. A bound that nobody who uses the official classes can beat."""
        messages = [ExportTraceServiceRequest.FromString(message) for message in baseline.load(path)]
        lap("read")
        return messages

    def take_out(self, result: list[ExportTraceServiceRequest], lap: Lap) -> None:
        """Do nothing."""

    def answers(self, result: list[ExportTraceServiceRequest]) -> Answers:  # noqa: ARG002
        """Give none: there are none without looking."""
        return {}

    def facts(self, result: list[ExportTraceServiceRequest]) -> dict[str, int]:
        """Say how many spans there are."""
        scopes = (
            scope for message in result for part in message.resource_spans for scope in part.scope_spans
        )
        return {"spans": sum(len(scope.spans) for scope in scopes)}


CONTENDERS: dict[str, Callable[[], Contender]] = {"k8strace": Ours, "baseline": Theirs, "parse": Parse}


# ── From bytes in memory ──────────────────────────────────────────────────────────────────────────

LOAD = "load"
"""The step that is not counted: the messages come from the file once per process."""

messages = cache(baseline.load)


class OursInMemory(Ours):
    """Messages → columns → Arrow; and on to the answers."""

    def __call__(self, path: Path, lap: Lap) -> Any:
        """Decode, join, attribute; then hand the columns to pyarrow."""
        import pyarrow as pa

        wire = messages(path)
        lap(LOAD)
        spans = k8strace.decode(wire)
        lap("decode")
        table = pa.table(spans)
        lap("arrow")
        requests = k8strace.join(spans)
        lap("join")
        attribution = k8strace.attribute(requests)
        lap("attribute")
        return table, attribution

    def take_out(self, result: Any, lap: Lap) -> None:
        """Do nothing."""

    def answers(self, result: Any) -> Answers:
        """Give wall time and phases of every request."""
        return super().answers(result[1])

    def facts(self, result: Any) -> dict[str, Any]:
        """Say what the spans hold, and what was read."""
        table, attribution = result
        return super().facts(attribution) | _read_of_arrow(table.combine_chunks())


class TuplesInMemory(Theirs):
    """Messages → official objects → tuples and dictionaries; and on to the answers with networkx."""

    def _yields(self, signature: baseline.Signature) -> bool:
        return self._taxonomy.yields(k8strace.Signature(*signature))

    def __call__(self, path: Path, lap: Lap) -> tuple[baseline.Trees, list[baseline.RequestTime]]:
        """Read, join, attribute."""
        wire = messages(path)
        lap(LOAD)
        spans = baseline.read(wire)
        lap("decode")
        trees = baseline.Trees(spans)
        lap("join")
        requests = baseline.attribute(trees, self._phase, self._mark, below=below, yields=self._yields)
        lap("attribute")
        return trees, requests

    def facts(self, result: tuple[baseline.Trees, list[baseline.RequestTime]]) -> dict[str, Any]:
        """Say what was read."""
        spans = result[0].spans
        events = [event for span in spans for event in span.events]
        pairs = [pair for span in spans for pair in span.attributes.items()]
        pairs += [pair for *_, attributes in events for pair in attributes.items()]
        return {"spans": len(spans)} | _digest(
            names=(span.name for span in spans),
            times=(time for span in spans for time in (span.start, span.end)),
            events=(event[1] for event in events),
            keys=(key for key, _ in pairs),
            texts=(value if isinstance(value, str) else "" for _, value in pairs),
        )


class UpbInMemory(Parse):
    """Messages → official objects."""

    def __call__(self, path: Path, lap: Lap) -> list[ExportTraceServiceRequest]:
        """Parse."""
        wire = messages(path)
        lap(LOAD)
        parsed = [ExportTraceServiceRequest.FromString(message) for message in wire]
        lap("decode")
        return parsed

    def facts(self, result: list[ExportTraceServiceRequest]) -> dict[str, Any]:
        """Say what was read."""
        parts = [part for message in result for part in message.resource_spans]
        spans = [span for part in parts for scope in part.scope_spans for span in scope.spans]
        events = [event for span in spans for event in span.events]
        pairs = [pair for each in (*spans, *events) for pair in each.attributes]
        return {"spans": len(spans)} | _digest(
            names=(span.name for span in spans),
            times=(time for span in spans for time in (span.start_time_unix_nano, span.end_time_unix_nano)),
            events=(event.name for event in events),
            keys=(pair.key for pair in pairs),
            texts=(pair.value.string_value for pair in pairs),
        )


class PtarsInMemory:
    """Messages → Arrow by ptars, which is generic: nested lists as the protocol nests them."""

    def __init__(self) -> None:
        import ptars

        pool = ptars.HandlerPool([ExportTraceServiceRequest.DESCRIPTOR.file])
        self._handler = pool.get_for_message(ExportTraceServiceRequest.DESCRIPTOR)

    def __call__(self, path: Path, lap: Lap) -> Any:
        """Convert."""
        wire = messages(path)
        lap(LOAD)
        batch = self._handler.list_to_record_batch(wire)
        lap("decode")
        return batch

    def take_out(self, result: Any, lap: Lap) -> None:
        """Do nothing."""

    def answers(self, result: Any) -> Answers:  # noqa: ARG002
        """Give none."""
        return {}

    def facts(self, result: Any) -> dict[str, Any]:
        """Say what was read."""
        import pyarrow as pa
        from pyarrow.compute import list_flatten, struct_field

        parts = list_flatten(result.column("resource_spans"))
        scopes = list_flatten(struct_field(parts, "scope_spans"))
        spans = list_flatten(struct_field(scopes, "spans"))
        names = [field.name for field in spans.type]
        return _read_of_arrow(pa.table(spans.flatten(), names=names))


def _read_of_arrow(table: Any) -> dict[str, Any]:
    """What an Arrow table of spans says; names of columns and fields are the protocol's, ours and theirs."""
    from pyarrow.compute import list_flatten, struct_field

    def texts(attributes: Any) -> tuple[list[str], list[str]]:
        at = "string_value" if "value" not in [f.name for f in attributes.type] else ["value", "string_value"]
        values = struct_field(attributes, at).to_pylist()
        return struct_field(attributes, "key").to_pylist(), [value or "" for value in values]

    columns = {
        name: table.column(name).combine_chunks()
        for name in ("name", "start_time_unix_nano", "end_time_unix_nano", "attributes", "events")
    }
    events = list_flatten(columns["events"])
    of_spans = texts(list_flatten(columns["attributes"]))
    of_events = texts(list_flatten(struct_field(events, "attributes")))
    begins, ends = (columns[f"{end}_time_unix_nano"].to_pylist() for end in ("start", "end"))
    return {"spans": len(table)} | _digest(
        names=columns["name"].to_pylist(),
        times=(time for pair in zip(begins, ends, strict=True) for time in pair),
        events=struct_field(events, "name").to_pylist(),
        keys=of_spans[0] + of_events[0],
        texts=of_spans[1] + of_events[1],
    )


def _digest(**values: Iterable[Any]) -> dict[str, Any]:
    """Sum up long lists, to be compared."""
    lists = {name: list(each) for name, each in values.items()}
    return {
        f"read_{name}": f"{len(each)} {hashlib.sha256(repr(each).encode()).hexdigest()[:16]}"
        for name, each in lists.items()
    }


DECODERS: dict[str, Callable[[], Contender]] = {
    "decode": OursInMemory,
    "tuples": TuplesInMemory,
    "upb": UpbInMemory,
    **({"ptars": PtarsInMemory} if find_spec("ptars") else {}),
}
"""Those who start from messages in memory; `ptars` where it is installed."""


CLOCKS = ("cpu", "wall", "system", "faults")
"""What is measured of each step: ns of CPU time, of wall time, of CPU time in the kernel; and page faults."""


class Stopwatch:
    """Clock → step → what went by."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, float]] = {clock: {} for clock in CLOCKS}
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, ...]:
        so_far = spent.Spent.now()
        return time.process_time_ns(), time.perf_counter_ns(), 1e9 * so_far.system, so_far.faults

    def lap(self, step: str) -> None:
        """End a step; the next one begins."""
        for clock, now, last in zip(CLOCKS, self._now(), self._last, strict=True):
            self.steps[clock][step] = now - last
        self._last = self._now()


def run(contender: Contender, path: Path, seconds: float) -> dict[str, Any]:
    """Do the job again and again for some seconds; give the mean time of each step in ns."""
    watches = []
    until = time.perf_counter() + seconds
    while not watches or time.perf_counter() < until:
        gc.collect()
        watch = Stopwatch()
        contender.take_out(contender(path, watch.lap), watch.lap)
        watches.append(watch)
    return {
        "times": len(watches),
        **{
            clock: {step: sum(each.steps[clock][step] for each in watches) / len(watches) for step in steps}
            for clock, steps in watches[0].steps.items()
        },
    }


def answer(contender: Contender, path: Path) -> dict[str, Any]:
    """Do the job for the first time in this process: what comes out, how long it took, what it holds."""
    gc.collect()
    before = memory()
    watch = Stopwatch()
    result = contender(path, watch.lap)
    after = memory()
    grown = {key: after[key] - before["VmRSS"] for key in after}
    return {
        "answers": contender.answers(result),
        "facts": contender.facts(result),
        "cpu": watch.steps["cpu"],
        "held_bytes": grown.get("VmRSS"),
        "peak_bytes": grown.get("VmHWM"),
    }


def memory() -> dict[str, int]:
    """Memory of this process in bytes, now (VmRSS) and at most so far (VmHWM); empty where Linux is not."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    fields = (line.split() for line in lines if line.startswith(("VmRSS", "VmHWM")))
    return {name.rstrip(":"): int(kib) * 1024 for name, kib, _ in fields}


def main(name: str, path: Path, *options: str) -> None:
    """Do what the lines of standard input say."""
    if "no-gc" in options:
        gc.disable()
    contender = (CONTENDERS | DECODERS)[name]()
    for line in sys.stdin:
        order, *seconds = line.split()
        reply = answer(contender, path) if order == "answers" else run(contender, path, *map(float, seconds))
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
