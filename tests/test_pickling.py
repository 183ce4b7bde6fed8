"""Results travel to other processes, and are there what they were: every table of theirs, and of a selection."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import k8strace

pytest.importorskip("pyarrow", reason="pyarrow compares tables")

DATA = Path(__file__).parent / "data"
NODE = DATA / "node" / "k8s-1.37_kubelet.otlp.zst"
FIELD = sorted((DATA / "field").glob("[a-z][0-9]*.*"))


def again(what):
    return pickle.loads(pickle.dumps(what))


def tables_of(what):
    """All its tables, by name."""
    found = {"": what.to_arrow()}
    for name in dir(type(what)):
        if not name.startswith("_") and isinstance(value := getattr(what, name), k8strace.Table):
            found[name] = value.to_arrow()
    return found


def test_spans_are_the_same_to_the_batch(capture):
    spans = k8strace.read(capture)
    copy = again(spans)
    assert tables_of(copy) == tables_of(spans)
    assert len(tables_of(spans)) == 4
    assert (copy.counts, copy.sources, copy.processes) == (spans.counts, spans.sources, spans.processes)


@pytest.mark.parametrize("path", FIELD, ids=lambda path: path.name)
def test_dirty_spans_and_what_was_wrong_with_them(path):
    try:
        spans = k8strace.read(path)
    except k8strace.K8straceError:
        pytest.skip("refused: there is nothing to pickle")
    copy = again(spans)
    assert tables_of(copy) == tables_of(spans)
    assert (copy.issues, copy.counts) == (spans.issues, spans.counts)
    requests = k8strace.join(spans)
    assert tables_of(again(requests)) == tables_of(requests)


def test_requests_and_selections_of_them(capture_136):
    requests = k8strace.join(k8strace.read(capture_136), apiserver="apiserver")
    assert tables_of(again(requests)) == tables_of(requests)
    assert again(requests).joined.ledger == requests.joined.ledger
    chosen = requests.with_column("team", ["red"] * len(requests)).where("verb=create").slowest(7)
    copy = again(chosen)
    assert tables_of(copy) == tables_of(chosen)
    assert copy.column("team").to_pylist() == ["red"] * 7
    assert again(chosen[0]) == chosen[0]


def test_several_selections_share_one_join(capture_136):
    requests = k8strace.join(k8strace.read(capture_136))
    both = again([requests, requests.slowest(1)])
    assert both[0].spans is both[1].spans


def test_attribution_with_rules_of_ones_own(capture_136):
    rules = k8strace.Taxonomy().with_rule(k8strace.Rule("mine.server", service="etcd"))
    attribution = k8strace.attribute(
        k8strace.join(k8strace.read(capture_136), taxonomy=rules).where("verb=list"), method="self_time"
    )
    copy = again(attribution)
    assert copy.to_arrow() == attribution.to_arrow()
    assert (copy.method, copy.totals) == ("self_time", attribution.totals)
    assert "mine" in copy.component_names


def test_pods():
    pods = k8strace.pods(k8strace.read(NODE))
    assert tables_of(again(pods.slowest(3))) == tables_of(pods.slowest(3))
    assert again(pods.syncs).to_arrow() == pods.syncs.to_arrow()


def test_rules_hash():
    rule = k8strace.Rule("mine.server", service="etcd", events={})
    assert len({rule, k8strace.Rule("mine.server", service="etcd"), k8strace.Rule("mine.client")}) == 2


def test_what_a_stream_gave_says_why_it_stays(capture_136):
    stream = k8strace.RequestStream()
    stream.feed(k8strace.read(capture_136), now_ns=1)
    with pytest.raises(TypeError, match="requests of a stream cannot be pickled"):
        pickle.dumps(stream.flush())


def totals(requests):
    return k8strace.attribute(requests).totals


@pytest.mark.slow
def test_other_processes_do_the_work(capture_136):
    requests = k8strace.join(k8strace.read(capture_136))
    parts = [requests[at::3] for at in range(3)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(totals, parts)) == [totals(part) for part in parts]
