"""kube-apiserver's own measurements, from its audit log, as truth."""

import gzip
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import k8strace
import k8strace.audit
from k8strace.audit import Beside, quantile, read_log
from k8strace.audit.log import duration_ns
from k8strace.audit.scanning import EVENT_BYTES, Scanner
from k8strace.cli import main

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import audit as command  # noqa: E402

RECORDING = ROOT.parent / "shared" / "captures" / "k8s-1.37_etcd-3.7_audit"
SPANS, LOG = (RECORDING.with_name(RECORDING.name + ending) for ending in (".otlp.zst", ".audit.jsonl.zst"))


@pytest.fixture(scope="module")
def compared() -> dict[str, list[Beside]]:
    if not LOG.exists():
        pytest.skip(f"the recording with its audit log is not here: {RECORDING}")
    return command.compare(SPANS, LOG)


@pytest.mark.parametrize(("annotation", "requests"), [("mutating-webhook", 278), ("validating-webhook", 241)])
def test_a_webhooks_time_is_what_the_apiserver_measured(
    compared: dict[str, list[Beside]], annotation: str, requests: int
) -> None:
    """Mutating webhooks summed, of the validating ones, which run at once, the longest."""
    rows = compared[annotation]
    assert len(rows) == requests
    assert quantile(rows, 0.99) <= 0.015
    assert quantile(rows, 0.5) <= 0.002


def test_the_table_in_the_reference_is_what_the_command_prints(
    compared: dict[str, list[Beside]],
) -> None:
    page = (ROOT / "docs" / "reference" / "components.md").read_text()
    assert "\n".join(command.lines(compared)) in page


@pytest.mark.parametrize(
    ("text", "ns"), [("87.5µs", 87_500), ("1.25ms", 1_250_000), ("1m2.5s", 62_500_000_000), ("0s", 0)]
)
def test_durations_are_read_as_go_writes_them(text: str, ns: int) -> None:
    assert duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "1", "1x", "-1s", "1s ", "1.s", "one second"])
def test_what_go_does_not_write_is_no_duration(text: str) -> None:
    assert duration_ns(text) is None


# ---- reading ----

FIELDS = ("auditID", "user", "annotations")


def event(audit_id: str, **more: object) -> dict[str, object]:
    return {"kind": "Event", "auditID": audit_id, "user": {"username": "ann"}, **more}


def scanned(data: bytes, size: int = 1 << 16) -> tuple[Scanner, list[dict[str, object]]]:
    scanner = Scanner((data[at : at + size] for at in range(0, len(data), size)), FIELDS)
    return scanner, list(scanner)


texts = st.text(max_size=12) | st.sampled_from(['"', "\\", '{"a":[', "}]", "\n", "\u2028", "items"])
bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(
    bodies=st.lists(bodies, min_size=1, max_size=4),
    size=st.integers(1, 40),
    shape=st.sampled_from(["lines", "prefixed", "list", "array", "pretty"]),
)
def test_events_are_what_json_reads_whatever_the_pieces_and_bodies(bodies, size, shape) -> None:
    """Python's own JSON reader says what is in them; of bodies nothing is kept."""
    events = [
        event(f"id-{at}", annotations={"a": body}, requestObject=body, responseObject={"items": [body]})
        for at, body in enumerate(bodies)
    ]
    data = {
        "lines": lambda: "\n".join(map(json.dumps, events)),
        "prefixed": lambda: "\n".join(f"2026-11-26T14:05:00Z stdout F {json.dumps(each)}" for each in events),
        "list": lambda: json.dumps({"kind": "EventList", "metadata": {}, "items": events}),
        "array": lambda: json.dumps(events),
        "pretty": lambda: "".join(json.dumps(each, indent=2, ensure_ascii=False) for each in events),
    }[shape]()
    scanner, found = scanned(data.encode("utf-8", "surrogatepass"), size)
    assert found == [{name: each[name] for name in FIELDS} for each in json.loads(json.dumps(events))]
    assert (scanner.events, scanner.damaged, scanner.too_large) == (len(events), 0, 0)


jsonish = st.text(alphabet='{}[]",:\\ \nab1', max_size=200).map(str.encode)


@given(data=st.binary(max_size=200) | jsonish, size=st.integers(1, 50))
def test_any_bytes_are_read_or_counted(data, size) -> None:
    scanner, found = scanned(data, size)
    assert len(found) <= scanner.events
    assert scanner.damaged <= data.count(b"\n") + scanner.events + 1


@given(
    cut=st.integers(0, 200),
    size=st.integers(1, 60),
    more=st.sampled_from([b"", b"null", b"\xff\x00", b"}", b'{"a":}']),
)
def test_a_bad_line_costs_itself_only(cut: int, size: int, more: bytes) -> None:
    """A line that is cut anywhere, within a body too, or is no event."""
    body = {"a": [{"b": ["c"]}], "d": {"e": {}}}
    line = json.dumps(event("x", annotations={"a": "b"}, requestObject=body)).encode()
    damaged = line[: min(cut, len(line) - 1)] + more
    scanner, found = scanned(b"\n".join([line, damaged, line, line]), size)
    assert len(found) in (3, 4)
    assert found[0] == found[-1] == found[-2] == {name: json.loads(line)[name] for name in FIELDS}
    assert scanner.damaged <= 2


def test_what_is_kept_of_an_event_is_bounded() -> None:
    large = event("x", annotations={"a": "x" * (EVENT_BYTES + 1)})
    scanner, found = scanned(b"\n".join(json.dumps(each).encode() for each in (large, event("y"))))
    assert [each["auditID"] for each in found] == ["y"]
    assert scanner.too_large == 1


@pytest.mark.slow
def test_bodies_of_any_size_and_depth_cost_no_memory() -> None:
    import tracemalloc

    def chunks():
        yield b'{"auditID": "x", "requestObject": ' + b"[" * (1 << 16)
        for _ in range(32):
            yield b'"' + b'\\"' * (1 << 19) + b'",'
        yield b"1" + b"]" * (1 << 16) + b"}"

    tracemalloc.start()
    found = list(Scanner(chunks(), FIELDS))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [{"auditID": "x"}]
    assert peak < 16 << 20


def test_gzip_and_the_last_stage_of_each_request(tmp_path: Path) -> None:
    stages = [
        {**event("x", stage="ResponseStarted"), "annotations": {}},
        event(
            "x",
            stage="ResponseComplete",
            annotations={"apiserver.latency.k8s.io/total": "1.5ms"},
            responseStatus={"code": 201},
        ),
        event("unknown", stage="ResponseComplete"),
        event("unknown", stage="ResponseStarted"),
    ]
    path = tmp_path / "audit.log.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, stages)).encode()))
    log = read_log(path, {"x"})
    assert log.events["x"].latency_ns == {"total": 1_500_000}
    assert (log.events["x"].stage, log.events["x"].code) == ("ResponseComplete", 201)
    assert (log.read, log.without_spans, set(log.events)) == (4, 1, {"x"})


# ---- requests ----


@pytest.fixture(scope="module")
def audited() -> k8strace.Audit:
    if not LOG.exists():
        pytest.skip(f"the recording with its audit log is not here: {RECORDING}")
    return k8strace.Audit(k8strace.join(k8strace.read(SPANS)), LOG)


def test_every_request_is_joined_and_costs_of_users_sum_to_the_total(audited: k8strace.Audit) -> None:
    assert (audited.found, len(audited.requests), audited.log.without_spans) == (1893, 1893, 0)
    (total,) = audited.requests.cost()
    by_user = list(audited.requests.cost("user", "namespace"))
    for name in ("requests", "wall_ns", "etcd_ns", "apiserver_ns", "webhook_ns"):
        assert sum(row[name] for row in by_user) == total[name]
    assert {row["user"] for row in by_user} >= {"admin", "alice", "system:apiserver"}


def test_every_difference_has_a_reason_that_is_explained(audited: k8strace.Audit) -> None:
    for row in audited.table:
        reasons = dict(each.rsplit(" ", 1) for each in row["reasons"].split(", ") if each)
        assert sum(map(int, reasons.values())) == row["differ"]
        assert reasons.keys() <= k8strace.audit.REASONS.keys()
        assert int(reasons.get("unexplained", 0)) <= 0.02 * row["requests"]


def test_what_no_span_tells_is_a_finding(capture_136: Path) -> None:
    requests = k8strace.join(k8strace.read(capture_136))
    log = "\n".join(json.dumps(event(name, stage="ResponseComplete")) for name in ("a", "b")).encode()
    (found,) = [row for row in requests.findings(audit=log) if row["code"] == "audit_not_traced"]
    assert (found["requests"], found["severity"]) == (2, "info")


@pytest.mark.slow
def test_the_command_says_how_many_were_joined(
    audited: k8strace.Audit, capsys: pytest.CaptureFixture[str]
) -> None:
    from k8strace.cli import main

    assert main(["audit", str(SPANS), str(LOG), "--width", "80"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1,893 of 1,893 requests are in the audit log (2,024 events), joined by audit id.")
    assert max(map(len, out.splitlines())) <= 80
    assert main(["audit", str(SPANS), str(LOG), "--json", "--by", "user"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["annotation"] for row in record["annotations"]] == audited.table.column(
        "annotation"
    ).to_pylist()
    assert sum(row["requests"] for row in record["cost"]) <= record["requests"]


def test_a_log_of_another_time_is_an_error(
    capture_136: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from k8strace.cli import main

    (tmp_path / "audit.log").write_text(json.dumps(event("x")))
    assert main(["audit", str(capture_136), str(tmp_path / "audit.log")]) == 1
    assert "same time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (b"", "there is no event of an audit log in it: expected"),
        (
            b"hello\nworld\n",
            "there is no event of an audit log in it, and 2 places that cannot be read: expected",
        ),
        (json.dumps(event("x")).encode(), "none of 1,411 requests is in the log, which has 1 event"),
    ],
)
def test_who_gives_another_log_is_told_why_nothing_fits(log, said, tmp_path, capsys) -> None:
    file = tmp_path / "audit.log"
    file.write_bytes(log)
    assert main(["audit", str(ROOT / "tests/data/k8s-1.36_etcd-3.6.otlp.zst"), str(file)]) != 0
    assert said in capsys.readouterr().err
