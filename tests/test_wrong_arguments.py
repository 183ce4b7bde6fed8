"""What people hand over by mistake is answered with what was expected and what came, where it was handed over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import k8strace
from k8strace import Change, Histograms, RequestStream

ROOT = Path(__file__).parent.parent
FILE = "tests/data/k8s-1.36_etcd-3.6.otlp.zst"

KINDS = {
    "compare(requests, requests, at=0.99)": 'expected "mean" and quantiles, such as ("mean", 0.99), got 0.99',
    "compare(requests, requests, at='mean')": 'expected "mean" and quantiles, such as ("mean", 0.99), got \'mean\'',
    "compare(requests, requests, by='verb')": 'expected columns such as ("verb", "resource"), got \'verb\'',
    "compare(requests, requests, by=None)": 'expected columns such as ("verb", "resource"), got None',
    "compare(requests, None)": "expected requests or an attribution of them, got None",
    "compare(spans, requests)": "expected requests or an attribution of them, got Spans(16766 s...iserver, etcd)",
    "comparison[0.99]": "expected a place or the name of a column; for a quantile there is quantile(q), got 0.99",
    "read(5)": "expected a path, a pattern, bytes, a file, or several of them, got 5",
    "read(FILE, threads='2')": "expected a number of threads, got '2'",
    "join('spans.otlp')": "expected spans, as read and decode give them, got 'spans.otlp'",
    "join(spans, apiserver=5)": "expected the name of a service, or several, got 5",
    "join(spans, taxonomy='rules.toml')": "expected a taxonomy, as read_rules gives it, got 'rules.toml'",
    "join(spans, threads='2')": "expected a number of threads, got '2'",
    "pods(None)": "expected spans, as read and decode give them, got None",
    "clock_evidence(5)": "expected spans, as read and decode give them, got 5",
    "couplings(5)": "expected spans, as read and decode give them, got 5",
    "RequestStream(5)": "expected settings of a stream, got 5",
    "attribute(None)": "expected requests, as join gives them, or syncs of pods, got None",
    "attribution.by(['verb'])": "expected the name of a column, got ['verb']",
    "attribution.by('verb', quantiles=0.99)": "expected quantiles such as (0.5, 0.99), got 0.99",
    "attribution.quantile(0.99, by='verb')": 'expected columns such as ("verb", "resource"), got \'verb\'',
    "attribution.what_if('etcd')": "expected a change such as Change.latency(\"etcd\", 1_000_000), got 'etcd'",
    "Change.latency('etcd', '5ms')": "expected a time in ns, got '5ms'",
    "Histograms.of(5)": "expected an attribution, as attribute gives it, got 5",
    "Audit(5, b'')": "expected requests, as join gives them, got 5",
    "check(requests, 'budgets.toml')": "expected budgets, as read_budgets gives them, got 'budgets.toml'",
    "check(None, [])": "expected requests or an attribution of them, got None",
    "requests.where(['verb=list'])": "expected a condition such as \"verb=list\", got ['verb=list']",
    "requests.find(5)": "expected a trace id in hex, got 5",
    "requests.slowest('5')": "expected a number of rows, got '5'",
    "requests.to_html(max_mb='5')": "expected a number of megabytes, got '5'",
    "spans.attributes(5)": "expected the key of an attribute, got 5",
    "requests.column(5)": "expected the name of a column, got 5",
    "requests.cost(['verb'])": "expected the name of a column, got ['verb']",
    "requests.with_column('team', 5)": "expected a value for each joined request, got 5",
    "requests.with_column(5, [])": "expected the name of a column, got 5",
    "requests.estimate_totals('0.5')": "expected a rate above 0 and at most 1, got '0.5'",
    "requests.stalls(error_rate='1%')": "expected an error rate above 0, got '1%'",
    "requests.findings(client_times='log')": "expected times of clients, as read_client_times gives them, got 'log'",
    "read(FILE, format=None)": "expected a format by name, got None",
    "check(requests, ['p99'])": "expected a budget, as read_budgets gives it, got 'p99'",
}
"""What is called → the TypeError's text."""

VALUES = {
    "compare(requests, requests, at=['p99'])": "expected \"mean\" or a quantile in (0, 1], got 'p99'",
    "comparison.quantile('p99')": "expected \"mean\" or a quantile in (0, 1], got 'p99'",
    "comparison.quantile(99)": 'expected "mean" or a quantile in (0, 1], got 99',
    "attribution.by(quantiles=['p99'])": "expected ascending quantiles in (0, 1], got ('p99',)",
    "attribution.quantile('p99')": "expected a quantile in (0, 1], got 'p99'",
    "requests.stalls(error_rate=0)": "expected an error rate above 0, got 0",
    "requests.slowest(-1)": "expected a number of rows, at least 0, or None for all, got -1",
    "requests.to_html(max_mb=0)": "expected max_mb above 0, got 0",
}
"""The same of a ValueError: of the right kind, or for a statistic, but none that there is."""


@pytest.fixture(scope="module")
def known():
    spans = k8strace.read(ROOT / FILE)
    requests = k8strace.join(spans)
    return {
        **{name: getattr(k8strace, name) for name in k8strace.__all__},
        "FILE": ROOT / FILE,
        "spans": spans,
        "requests": requests,
        "attribution": k8strace.attribute(requests),
        "comparison": k8strace.compare(requests, requests, by=()),
    }


@pytest.mark.parametrize("call", KINDS)
def test_an_argument_of_another_kind_is_told(known, call):
    with pytest.raises(TypeError, match=f"^{re.escape(KINDS[call])}$"):
        eval(call, known)


@pytest.mark.parametrize("call", VALUES)
def test_a_value_that_there_is_not_is_told(known, call):
    with pytest.raises(ValueError, match=f"^{re.escape(VALUES[call])}$"):
        eval(call, known)


def test_what_is_several_may_be_any_collection(known):
    requests, attribution = known["requests"], known["attribution"]
    assert k8strace.compare(requests, requests, ["verb"], {"mean": 0}).names == ["mean"]
    assert attribution.by("verb", quantiles=[0.5, 1]).quantiles == (0.5, 1)
    assert [*k8strace.check(requests, iter(()))] == []
    assert RequestStream(apiserver=["apiserver"]).settings == RequestStream().settings
    assert Histograms.of(attribution).keys == ("verb", "resource")
    assert attribution.what_if(Change.latency("etcd", 10**6)).by()[0].requests == 1293
