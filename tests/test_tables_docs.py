"""The reference of results' tables names every column, in order, with its Arrow type."""

import re
from pathlib import Path

import pytest

import k8strace

pa = pytest.importorskip("pyarrow", reason="pyarrow says the types")

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "reference" / "tables.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tables():
    requests = k8strace.join(k8strace.read(ROOT / "tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
    pods = k8strace.pods(k8strace.read(ROOT / "tests/data/node/k8s-1.37_kubelet.otlp.zst"))
    return {
        "Requests": requests,
        "etcd calls": requests.etcd_calls,
        "Webhook calls": requests.webhook_calls,
        "Repairs": requests.repairs,
        "Issues": requests.issues,
        "Clock offsets": requests.joined.clock_offsets,
        "Attribution": k8strace.attribute(requests),
        "Syncs": pods.syncs,
        "Calls to container runtimes": pods.cri_calls,
        "Probes": pods.probes,
    }


def listed():
    """Heading → its columns: name, type, null rule."""
    row = re.compile(r"^\| `(\w+)` \| `([^`]+)` \|.*\| ([^|]*?) ?\|$", re.MULTILINE)
    _, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    return {heading: row.findall(text) for heading, _, text in (each.partition("\n") for each in sections)}


def test_every_column_is_listed_with_its_type(tables):
    expected = {
        heading: [(field.name, str(field.type).partition("<")[0]) for field in pa.table(table).schema]
        for heading, table in tables.items()
    }
    assert expected == {
        heading: [(name, kind) for name, kind, _ in columns] for heading, columns in listed().items()
    }


def test_a_column_that_has_nulls_says_when(tables):
    for heading, columns in listed().items():
        table = pa.table(tables[heading])
        assert not [name for name, _, rule in columns if table[name].null_count and not rule], heading


def test_the_columns_of_syncs_in_an_attribution_are_those_that_are_named(tables):
    names = pa.table(k8strace.attribute(tables["Syncs"])).schema.names
    assert re.findall(r"`(\w+)`", PAGE.partition("the columns are")[2].partition(".\n")[0]) == names
