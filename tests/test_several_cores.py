"""Several cores change nothing: spans, requests and whose time it was are the same, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import Requests, dirty_batches

import k8strace
from k8strace.formats import Message, messages

DATA = Path(__file__).parent / "data"
CAPTURE = DATA / "k8s-1.36_etcd-3.6.otlp.zst"
CAPTURES = sorted(path for path in DATA.rglob("*.otlp.zst"))
WIRES = [bytes(item.wire) for item in messages(CAPTURE) if isinstance(item, Message)]

TABLES = (
    *("requests", "repairs", "issues", "clock_offsets", "etcd_calls", "etcd_call_details"),
    *("webhook_calls", "webhook_call_details", "conflicts", "silences"),
    *("syncs", "cri_calls", "kubelet_requests"),
)
WAYS = list(product(("critical_path", "active_share", "self_time"), ("clip", "happens_before")))


def bits(table: Any) -> tuple[bytes, list[str]]:
    """
    A table as Arrow's file format has it: numbers of dictionaries and order of rows included.

    Texts that refer to what was read are told apart, by name: where they stand is not what they say.
    """
    whole = pa.table(table)
    names = [field.name for field in whole.schema if "view" not in str(field.type)]
    sink = pa.BufferOutputStream()
    fixed = whole.select(names)
    with pa.ipc.new_stream(sink, fixed.schema) as file:
        file.write_table(fixed)
    return bytes(sink.getvalue()), [name for name in whole.column_names if name not in names]


def texts(table: Any) -> dict[str, list[Any]]:
    """The columns that refer to what was read."""
    whole = pa.table(table)
    return {name: whole[name].to_pylist() for name in bits(table)[1]}


def said(sources: Any, threads: int, **options: Any) -> Iterator[tuple[str, Any]]:
    """All that is made of sources: what was read, joined and divided."""
    spans = k8strace.read(sources, threads=threads, **options)
    yield "issues of reading", (spans.sources, spans.issues, spans.counts)
    yield "what came", spans._columns.batch_wires()
    for name in ("spans", "scopes", "resources", "odd_ids"):
        yield name, bits(spans._columns.table(name))
    requests = k8strace.join(spans, threads=threads)
    core = requests._joined.core
    for name in TABLES:
        yield name, (bits(core.table(name)), texts(core.table(name)))
    yield "roles", core.roles()
    yield "signatures", core.signatures()
    yield "events", core.events()
    yield "counts", (core.counts(), core.ledger())
    for method, overlap in WAYS:
        if (method, overlap) != ("active_share", "happens_before"):
            yield method, bits(k8strace.attribute(requests, method=method, overlap=overlap))  # type: ignore[arg-type]


def check_same(sources: Callable[[], Any], threads: int, **options: Any) -> None:
    pairs = zip(said(sources(), 1, **options), said(sources(), threads, **options), strict=True)
    for (name, alone), (_, together) in pairs:
        assert alone == together, name


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 3, 16])
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name.partition(".otlp")[0])
def test_any_number_of_threads_gives_the_same(path: Path, threads: int) -> None:
    check_same(lambda: path, threads)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), dirty=dirty_batches(), threads=st.integers(2, 9))
def test_any_number_of_threads_gives_the_same_of_what_is_broken(
    seed: int, dirty: Requests, threads: int
) -> None:
    """A recording, shuffled, repeated in part and with bytes that broke, and spans as nobody should send them."""
    random = Random(seed)
    wires = [*WIRES, *random.choices(WIRES, k=8), *(message.SerializeToString() for message in dirty)]
    random.shuffle(wires)
    for at in random.choices(range(len(wires)), k=random.choice((0, 3, 30))):
        broken = bytearray(wires[at] or b"\0")
        broken[random.randrange(len(broken))] ^= 1 << random.randrange(8)
        wires[at] = bytes(broken)
    stored = b"".join(len(wire).to_bytes(4, "big") + wire for wire in wires)
    check_same(lambda: stored, threads, format="proto-frames")


@pytest.mark.slow
def test_spans_that_need_far_more_memory_are_refused_by_the_same_rule() -> None:
    """What a request may need depends on what came before it: threads must not change who is refused."""
    dense = b"\x0a\x04\x12\x02\x12\x00" * 40_000  # a resource, a scope and a span in six bytes
    for order in ((dense, *WIRES), (*WIRES, dense), (*WIRES[:9], dense, *WIRES[9:], dense)):
        stored = b"".join(len(wire).to_bytes(4, "big") + wire for wire in order * 2)
        check_same(lambda stored=stored: stored, 2, format="proto-frames")  # type: ignore[misc]


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_an_error(threads: int) -> None:
    with pytest.raises(ValueError, match=f"expected threads above 0, got {threads}"):
        k8strace.read(CAPTURE, threads=threads)
    with pytest.raises(ValueError, match=f"expected threads above 0, got {threads}"):
        k8strace.join(k8strace.read(b""), threads=threads)
