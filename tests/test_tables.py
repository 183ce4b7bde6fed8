"""
What holds for every table that a result gives out.

`results` finds them, so that a new one is tested as well.
"""

from __future__ import annotations

import inspect
import re
import sys
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest
from results import results_of, tables_among, tables_of

import k8strace
from k8strace.tables import ArrowExport

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import baseline
import serve_load

pa = pytest.importorskip("pyarrow", reason="pyarrow says the types")

NODE = "tests/data/node/k8s-1.37_kubelet.otlp.zst"


@pytest.fixture(scope="module")
def requests(capture_136):
    return k8strace.join(k8strace.read(capture_136))


@pytest.fixture(scope="module")
def pods():
    return k8strace.pods(k8strace.read(NODE))


@pytest.fixture(scope="module")
def tables(requests, pods):
    return tables_among(results_of(requests, pods))


BY_ROW = {
    "spans": lambda requests, _: requests.spans,
    "scopes": lambda requests, _: requests.spans.scopes,
    "requests": lambda requests, _: requests,
    "etcd_calls": lambda requests, _: requests.etcd_calls,
    "etcd_calls of some": lambda requests, _: requests[::2].etcd_calls,
    "webhook_calls": lambda requests, _: requests.webhook_calls,
    "repairs": lambda requests, _: requests.repairs,
    "issues": lambda requests, _: requests.issues,
    "clock_offsets": lambda requests, _: requests.joined.clock_offsets,
    "attribution": lambda _, attribution: attribution,
    "cost": lambda requests, _: requests.cost("verb"),
    "etcd_usage": lambda requests, _: requests.etcd_usage("verb"),
}
"""Tables with a row for each span, request or call, or made of such: from columns to columns."""


@pytest.fixture(scope="module")
def repeated(capture_136):
    """A recording eight times, in traces of their own."""
    batches = [serve_load.Batch(message) for message in baseline.load(capture_136)]
    return k8strace.decode([batch.of_round(number) for number in range(1, 9) for batch in batches])


@pytest.fixture(scope="module")
def handed_over(tables):
    """The same as pyarrow takes them."""
    return {where: pa.table(table) for where, table in tables.items()}


def test_every_class_of_the_menu_that_is_a_table_is_among_the_results(tables):
    """Parts of the menu that are tables are made above, or what is tested below is not of all."""
    menu = [getattr(k8strace, name) for name in k8strace.__all__]
    classes = {each for each in menu if inspect.isclass(each) and issubclass(each, ArrowExport)}
    made = {each for table in tables.values() for each in type(table).__mro__}
    assert not classes - made


def test_a_table_gives_its_columns_by_name(tables, handed_over):
    """`[]` with a name, as `column`, in every class."""
    for where, table in tables.items():
        there = handed_over[where]
        assert list(table.column_names) == there.schema.names, where
        for name in table.column_names[:2]:
            assert isinstance(table[name], k8strace.Column), (where, name)
            assert len(table.column(name)) == there.num_rows, (where, name)
            assert [*islice(table[name], 99)] == [*islice(table.column(name), 99)], (where, name)
        with pytest.raises(KeyError, match=f"no column 'colour'.*{table.column_names[0]}"):
            table.column("colour")


def test_integers_are_signed_and_ids_have_one_type(handed_over):
    for where, table in handed_over.items():
        for field in table.schema:
            assert not pa.types.is_unsigned_integer(field.type), (where, field)
            if re.fullmatch(r"(\w+_)?(trace|span)_id", field.name):
                assert field.type == pa.large_string(), (where, field)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BY_ROW])
def test_no_table_makes_python_objects_of_its_rows(name, repeated, requests):
    """Not even a list of them, which takes 8 bytes for each: columns are made in the core."""
    pa.table(BY_ROW[name](requests, k8strace.attribute(requests)))  # imports what it needs
    requests = k8strace.join(repeated)
    made = requests._judged()  # which requests are in question is remembered as rows
    attribution = k8strace.attribute(made)
    tracemalloc.start()
    table = BY_ROW[name](requests, attribution)
    rows = max(len(table), len(requests))
    pa.table(table)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000 + 4 * rows, (rows, peak)


def test_times_are_timestamps_beside_their_nanoseconds(handed_over):
    """
    `start_unix_nano` has `start_time` beside it, OTLP's `start_time_unix_nano` too; what has a length, an end.

    `to_otlp` is for machines: wire that Spark spreads, with the numbers that it partitions by.
    """
    for where, table in handed_over.items():
        if where == "to_otlp":
            continue
        schema = table.schema
        for name in schema.names:
            if name.endswith("_unix_nano"):
                told = re.sub("(_time)?_unix_nano$", "_time", name)
                assert schema.field(told).type == pa.timestamp("ns", "UTC"), (where, name)
        if {"start_time", "wall_ns"} <= {*schema.names} or {"start_time", "client_ns"} <= {*schema.names}:
            assert schema.field("end_time").type == pa.timestamp("ns", "UTC"), where


def test_what_needs_no_argument_is_a_property():
    """A noun is a property; a method takes options, or its name says what it does."""
    verbs = {"outermost", "record", "flush"}
    for name in k8strace.__all__:
        thing = getattr(k8strace, name)
        for method, function in vars(thing).items() if inspect.isclass(thing) else ():
            if inspect.isfunction(function) and not method.startswith(("_", "to_")):
                assert len(inspect.signature(function).parameters) > 1 or method in verbs, (name, method)


# ── A selection is what it says ───────────────────────────────────────────────────────────────────


def test_every_table_of_selected_requests_is_about_them(requests):
    """The rows of the whole table whose `request` was selected. `spans` and `joined` are of all, and say so."""
    whole = tables_of(requests)
    assert whole.keys() == {"etcd_calls", "webhook_calls", "repairs", "issues", "spans"}
    del whole["spans"]
    listed = requests.where(verb="list")
    for selection in (listed, requests.slowest(7), requests[10:300], requests[:0], [requests.slowest(1)[0]]):
        chosen = {request.index for request in selection}
        of = tables_of(selection[0] if isinstance(selection, list) else selection)
        for name, table in whole.items():
            assert list(of[name]) == [row for row in table if row["request"] in chosen], name
    assert all(len(table) for table in tables_of(requests.where(verb="create")).values())


def test_every_table_of_selected_pods_is_about_them(pods):
    """The rows of their pods, or of their syncs."""
    whole = tables_of(pods)
    for selection in (pods.where(started=True), pods.slowest(3), pods[:0]):
        uids, syncs = {*selection["pod_uid"]}, {*selection.syncs["sync"]}
        for name, table in tables_of(selection).items():
            rows = k8strace.Table(whole[name]._arrow())
            about = {
                "pod_uid": lambda row, uids=uids: row["pod_uid"] in uids,
                "sync": lambda row, syncs=syncs: row["sync"] in syncs,
            }
            key = next((key for key in about if key in rows.column_names), None)
            expected = [row for row in rows if key and about[key](row)]
            assert list(k8strace.Table(table._arrow())) == expected, name


def test_every_table_of_an_attribution_is_of_what_was_divided(requests):
    some = requests.where(verb="list")
    chosen = {*some["request"]}
    divided = k8strace.Table(k8strace.attribute(some)._arrow())
    whole = k8strace.Table(k8strace.attribute(requests)._arrow())
    assert list(divided) == [row for row in whole if row["request"] in chosen]
    assert k8strace.attribute(some)["ns"].to_pylist() == divided["ns"].to_pylist()


def test_groups_are_found_by_the_values_of_their_keys(requests):
    groups = k8strace.attribute(requests).by("verb", "resource")
    for group in groups:
        assert groups[tuple(group.keys.values())] is group
    with pytest.raises(KeyError):
        groups["fly", "pods"]
