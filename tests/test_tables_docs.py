"""The reference of results' tables names every column, in order, with its Arrow type."""

import re
from pathlib import Path

import pytest
from results import results_of, tables_among

import k8strace

pa = pytest.importorskip("pyarrow", reason="pyarrow says the types")

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "tables.md").read_text(encoding="utf-8")


HEADINGS = {
    "Requests": "Requests",
    "Requests.etcd_calls": "etcd calls",
    "Requests.webhook_calls": "Webhook calls",
    "Requests.repairs": "Repairs",
    "Requests.issues": "Issues",
    "Joined.clock_offsets": "Clock offsets",
    "Attribution": "Attribution",
    "Pods.syncs": "Syncs",
    "Pods.cri_calls": "Calls to container runtimes",
    "Pods.probes": "Probes",
    "Pods.requests": "Requests of kubelets",
    "Pods.housekeeping": "Housekeeping of kubelets",
    "Pods": "Pods",
    "Breakdown": "Breakdown",
    "Histograms": "Histograms",
    "QuantileParts": "Parts of a quantile",
    "Comparison": "Comparison",
    "Projection": "Projection",
    "findings": "Findings",
    "stalls": "Stalls",
    "cost": "Costs",
    "etcd_usage": "Use of etcd",
    "estimate_totals": "Estimated totals",
    "Audit.table": "Audit",
    "StreamedRequests.replaced": "Requests that a stream replaced",
    "to_otlp": "Spans by trace",
    "groups": "Groups of traces",
}
"""Table → its section; the others are the same tables of something else, or of spans, on their own page."""

ELSEWHERE = ("Spans", "with_attributes")
OPEN = {
    "Breakdown": r"[a-z]+\.[a-z_.]+",
    "Pods": r"(start|ending)_\w+_ns",
    "Costs": r"(apiserver|etcd|webhook)_ns",
}
"""Columns that depend on the data, described in words."""
KEYS = {"verb", "resource", "client"}


@pytest.fixture(scope="module")
def all_tables():
    requests = k8strace.join(k8strace.read(ROOT / "tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
    pods = k8strace.pods(k8strace.read(ROOT / "tests/data/node/k8s-1.37_kubelet.otlp.zst"))
    return {name: pa.table(table) for name, table in tables_among(results_of(requests, pods)).items()}


@pytest.fixture(scope="module")
def tables(all_tables):
    return {heading: all_tables[name] for name, heading in HEADINGS.items()}


def listed():
    """Heading → its columns: name, type, null rule."""
    row = re.compile(r"^\| `(\w+)` \| `([^`]+)` \|.*\| ([^|]*?) ?\|$", re.MULTILINE)
    _, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    return {heading: row.findall(text) for heading, _, text in (each.partition("\n") for each in sections)}


def test_every_table_has_a_section(all_tables):
    """By its columns: a new table is of spans, on their own page, or needs a section here."""
    known = [all_tables[name].schema.names for name in HEADINGS]
    others = {name: table.schema.names for name, table in all_tables.items() if name not in HEADINGS}
    spans = [all_tables[name].schema.names for name in all_tables if name.startswith(ELSEWHERE)]
    assert [name for name, names in others.items() if names not in known and names not in spans] == []


def test_every_column_is_listed_with_its_type(tables):
    """But for the keys of groups, and for those that the data names."""
    grouped = {"Breakdown", "Histograms", "Parts of a quantile", "Costs", "Use of etcd"}
    expected = {
        heading: [
            (field.name, str(field.type).partition("<")[0])
            for field in table.schema
            if not (heading in grouped and field.name in KEYS)
            and not (heading in OPEN and re.fullmatch(OPEN[heading], field.name))
        ]
        for heading, table in tables.items()
    }
    assert expected == {
        heading: [(name, kind) for name, kind, _ in columns] for heading, columns in listed().items()
    }


def test_a_column_that_has_nulls_says_when(tables):
    for heading, columns in listed().items():
        table = tables[heading]
        assert not [name for name, _, rule in columns if table[name].null_count and not rule], heading


def test_the_columns_of_syncs_in_an_attribution_are_those_that_are_named():
    pods = k8strace.pods(k8strace.read(ROOT / "tests/data/node/k8s-1.37_kubelet.otlp.zst"))
    names = pa.table(k8strace.attribute(pods.syncs)).schema.names
    assert re.findall(r"`(\w+)`", PAGE.partition("the columns are")[2].partition(".\n")[0]) == names
