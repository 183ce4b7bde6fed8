"""A stream gives what `join` gives over everything, each request as early as it can, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from random import Random

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import SHAPES, sent
from strategies import Requests, dirty_batches
from streamed import put_together, said, used
from test_laws import EXAMPLES
from test_requests import resent

import k8strace

law = settings(max_examples=EXAMPLES, deadline=None)
WIDE = k8strace.StreamSettings(window_ns=1 << 40, max_age_ns=1 << 41)


def streamed(
    messages: Requests, random: Random, stream: k8strace.RequestStream
) -> list[k8strace.stream.StreamedRequests]:
    """Feeds the messages with a take now and then, all of it within the window, and flushes."""
    takes, now = [], 0
    for message in messages:
        now += random.choice([0, 0, 1, 1_000])
        stream.feed(message, now)
        if random.random() < 0.4:
            takes.append(stream.take(now))
    return [*takes, stream.flush()]


def check_counts(stream: k8strace.RequestStream) -> None:
    """Every span that was fed is somewhere."""
    counts = stream.counts
    assert counts["spans"] == sum(counts[name] for name in ("held", "repeats", "released", "discarded"))


def check_same(messages: Requests, random: Random, times: int = 1) -> None:
    """A stream of the messages, resent in any order, split and number, ends where `join` of all begins."""
    everything = k8strace.join(k8strace.decode(messages))
    stream = k8strace.RequestStream(WIDE)
    takes = streamed(resent(messages, random, times), random, stream)
    assert put_together(takes) == said(everything)
    check_counts(stream)
    assert (stream.counts["held"], stream.counts["discarded"]) == (0, 0)
    expected = used(everything.ledger)
    expected["invalid_id"] *= times  # what has no id cannot be told from its copy
    assert used(stream.ledger) == expected
    assert stream.ledger.spans == stream.counts["spans"]


# ── The same as the batch ─────────────────────────────────────────────────────────────────────────


@law
@given(dirty_batches(), st.randoms(use_true_random=False), st.sampled_from([1, 1, 2]))
def test_any_order_split_and_repetition_ends_where_join_ends(
    messages: Requests, random: Random, times: int
) -> None:
    check_same(messages, random, times)


@law
@given(dirty_batches(full=True), st.randoms(use_true_random=False))
def test_spans_with_all_details_end_where_join_ends(messages: Requests, random: Random) -> None:
    check_same(messages, random)


@law
@given(st.lists(st.sampled_from(range(len(SHAPES))), max_size=6), st.randoms(use_true_random=False))
def test_shapes_of_all_versions_end_where_join_ends(which: list[int], random: Random) -> None:
    far = random.choice([30, 60, 200, 10_000])
    messages = sent(*(part for at, shape in enumerate(which) for part in SHAPES[shape](at + 1, far * at)))
    for message in messages:
        skew = random.choice([0, 0, 50_000, -90_000])
        for by_resource in message.resource_spans:
            for by_scope in by_resource.scope_spans:
                for span in by_scope.spans:
                    span.start_time_unix_nano += skew
                    span.end_time_unix_nano += skew
    check_same(messages, random, random.choice([1, 2]))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_capture_shuffled_ends_where_join_ends(capture: Path, seed: int) -> None:
    messages, random = oracle.load(capture), Random(seed)
    random.shuffle(messages)
    everything = k8strace.join(k8strace.decode(messages))
    stream = k8strace.RequestStream(WIDE)
    assert put_together(streamed(messages, random, stream)) == said(everything)
    assert stream.ledger == everything.ledger
    check_counts(stream)
