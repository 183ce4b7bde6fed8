"""Findings: what is wrong, in words, with its cost."""

import json
import os
import random
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from builder import Span, apiserver_request, batches, etcd_client, trace, verb_span, webhook
from planted import PLANTS, SUMS, Garden, Plant

import k8strace
from k8strace.__main__ import main
from k8strace.findings import DETECTORS
from k8strace.findings.sampling import inferred

DATA = Path(__file__).parent / "data"
REFERENCE = Path(__file__).parent.parent / "docs" / "reference" / "findings.md"
CAPTURES = sorted(DATA.glob("k8s-*.otlp.zst"))
CODES = [detector.__name__ for detector in DETECTORS]
SEEDS = range(int(os.environ.get("K8STRACE_PLANTED_SEEDS", "2")))

# What is truly wrong in the recordings, by how they were made: webhooks with Nagle's algorithm on take 50 ms, and one
# call in 200 stalls for 2.5 s, longer than the timeout of 2 s; failurePolicy is Ignore.
TRUE = {"webhook_slow", "webhook_timeout", "webhook_fails_open"}

# Several per cent of the time of the recording, so that they may be told, too, of what is planted for another code.
FOLLOWS = {
    "update_conflicts": {"retries_cost"},
    "etcd_retries": {"retries_cost", "etcd_opaque"},
    "webhook_timeout": {"webhook_slow", "webhook_fails_open"},
    "webhook_fails_open": {"webhook_slow"},
    "work_after_client_left": {"refused_requests"},
    "retries_cost": {"update_conflicts", "etcd_retries", "etcd_opaque"},
}


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_section_in_the_reference(code):
    section = re.search(rf"^## {code}\n(.*?)(?=^## |\Z)", REFERENCE.read_text(), re.DOTALL | re.MULTILINE)
    assert section, f"no section about {code}"
    for part in ("**Means**", "**Detected by**", "**Do**", "**Looks the same**"):
        assert part in section[1]


def test_nothing_is_wrong_with_no_requests():
    none = k8strace.join(k8strace.decode(b""))
    assert list(none.findings()) == []


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_healthy_recordings_have_no_warning_but_true_ones(path):
    found = k8strace.join(k8strace.read(path)).findings()
    assert {row["code"] for row in found if row["severity"] != "info"} <= TRUE


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_conditions_select_at_least_the_requests_that_are_told(path):
    requests = k8strace.join(k8strace.read(path))
    for row in requests.findings():
        assert len(requests.where(*row["where"])) >= row["requests"], row["code"]
        assert 0 <= row["share"] <= 1
        assert row["start_unix_nano"] < row["end_unix_nano"]
        assert len(requests.find(row["example_trace_id"])) >= 1


# ── What was planted is found, and nothing else ───────────────────────────────────────────────────

BASE = DATA / "k8s-1.36_etcd-3.6.otlp.zst"


@cache
def before() -> tuple[list[dict], int, int, str]:
    """Findings of the recording as it is; from when to when it lasts; its apiserver."""
    requests = k8strace.join(k8strace.read(BASE))
    starts = requests.column("start_unix_nano")
    return list(requests.findings()), min(starts), max(starts), requests.column("instance")[0]


def planted(plant: Plant) -> list[dict]:
    """Findings of the recording with a plant in it."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "planted.otlp"
        file.write_bytes(b"".join(message.SerializeToString() for message in batches(*plant.traces)))
        return list(k8strace.join(k8strace.read([BASE, file])).findings())


@cache
def own(code: str) -> dict:
    """What the recording has of a code in itself, told or not, by a plant of another seed."""
    _, begin, end, instance = before()
    plant = PLANTS[code](Garden(999, begin, end, instance))
    (found,) = [row for row in planted(plant) if row["code"] == code]
    numbers = {name: found["evidence"][name] - number for name, number in plant.evidence.items()}
    return {"requests": found["requests"] - plant.requests, "ns": found["ns"] - plant.ns, "evidence": numbers}


def identity(row):
    return row["code"], tuple(row["where"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("code", PLANTS)
def test_what_is_planted_is_found_with_its_requests_and_its_ns(code, seed):
    """Precision 1 and recall 1: the finding has the planted requests and ns, and no other one has changed."""
    base, begin, end, instance = before()
    garden = Garden(seed, begin, end, instance)
    plant = PLANTS[code](garden)
    rows = planted(plant)
    known = {identity(row): row for row in base}
    new = [
        row
        for row in rows
        if row["code"] == code and row["requests"] != known.get(identity(row), {}).get("requests")
    ]
    (found,) = new
    nothing = {"requests": 0, "ns": 0, "evidence": {}}
    was = own(code) if code in SUMS else known.get(identity(found), nothing)
    assert found["requests"] - was["requests"] == plant.requests
    assert found["ns"] - was["ns"] == plant.ns
    for name, number in plant.evidence.items():
        assert found["evidence"][name] - was["evidence"].get(name, 0) == number
    others = {row["code"] for row in rows if known.get(identity(row), {}).get("ns") != row["ns"]}
    assert others <= {code} | FOLLOWS.get(code, set())


PLANTED_OTHERWISE = {
    "process_stall": ("test_stalls.py", "test_stopped_processes_are_found_in_simulations"),
    "head_of_line": ("test_interference.py", "test_heavy_calls_that_slow_others_are_told_and_by_how_much"),
    "time_outside_spans": ("test_findings.py", "test_what_clients_saw_longer_than_spans_is_told"),
    "sampled": ("test_findings.py", "test_a_thinned_recording_is_told_to_be_one"),
}
"""What a drawing of some requests cannot show: a whole process, all that clients saw, all traces."""


def test_every_code_has_a_plant():
    """A new detector comes with one, and with a test that finds it."""
    assert {*CODES} == {*PLANTS, *PLANTED_OTHERWISE}
    assert not {*PLANTS} & {*PLANTED_OTHERWISE}
    for file, test in PLANTED_OTHERWISE.values():
        assert f"\ndef {test}(" in (Path(__file__).parent / file).read_text()


def test_a_client_that_gets_what_it_listed_is_named_without_its_build():
    _, begin, end, instance = before()
    garden = Garden(1, begin, end, instance)
    (found,) = [row for row in planted(PLANTS["list_then_get"](garden)) if garden.tag in row["sentence"]]
    assert found["sentence"].startswith(f"{garden.tag}-client/1.0 listed ")
    assert found["where"][0] == f"user_agent={garden.tag}-client/1.0 (linux/amd64) kubernetes/5a1fd9d"


# ── Clients, sampling, cost ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", SEEDS)
def test_what_clients_saw_longer_than_spans_is_told(seed, tmp_path):
    """
    A client of every request that is slower than prelude and span: by less than 5 ms, or by 5 to 50 ms.

    The latter are told, with what they are slower; one row fits no request.
    """
    requests = k8strace.join(k8strace.read(BASE)).where(long_running=False).outermost()
    draw = random.Random(seed)
    columns = zip(*(requests.column(name) for name in ("audit_id", "wall_ns", "prelude_ns")), strict=True)
    spans = {audit_id: wall + (prelude or 0) for audit_id, wall, prelude in columns if audit_id}
    slower = {audit_id: draw.choice([4_999_999, draw.randrange(5_000_000, 50_000_000)]) for audit_id in spans}
    file = tmp_path / "client.jsonl"
    rows = [*((audit_id, spans[audit_id] + ns) for audit_id, ns in slower.items()), ("x", 1)]
    file.write_text(
        "\n".join(json.dumps({"audit_id": audit_id, "wall_ns": ns, "path": "/"}) for audit_id, ns in rows)
    )
    found = requests.findings(client_times=k8strace.read_client_times(file))
    (row,) = [row for row in found if row["code"] == "time_outside_spans"]
    told = [ns for ns in slower.values() if ns >= 5_000_000]
    assert (row["requests"], row["ns"]) == (len(told), sum(told))
    assert (row["evidence"]["matched"], row["evidence"]["not_matched"]) == (len(spans), 1)


def told_by(capsys, *asked):
    """What `report --json` tells, with these options."""
    assert main(["report", str(BASE), "--json", "--slowest", "0", *map(str, asked)]) == 0
    return json.loads(capsys.readouterr().out)


def test_report_takes_what_clients_saw(tmp_path, capsys):
    """All 20 ms slower than the longest request: only then it is told."""
    slowest = k8strace.join(k8strace.read(BASE)).outermost().slowest(1)[0]
    file = tmp_path / "client.jsonl"
    file.write_text(json.dumps({"audit_id": slowest.audit_id, "wall_ns": slowest.wall_ns + 20_000_000}))
    found = told_by(capsys, "--client-times", file)["findings"]
    (row,) = [row for row in found if row["code"] == "time_outside_spans"]
    assert (row["requests"], row["ns"]) == (1, 20_000_000 - (slowest.prelude_ns or 0))
    assert not [row for row in told_by(capsys)["findings"] if row["code"] == "time_outside_spans"]


def test_report_takes_an_audit_log(tmp_path, capsys):
    """One request of ann's, and one that no span shows."""
    slowest = k8strace.join(k8strace.read(BASE)).slowest(1)[0]
    events = [
        {"auditID": name, "stage": "ResponseComplete", "user": {"username": "ann"}}
        for name in (slowest.audit_id, "x")
    ]
    file = tmp_path / "audit.log"
    file.write_text("\n".join(map(json.dumps, events)))
    told = told_by(capsys, "--audit", file, "--by", "user", "--where", "user=ann")
    assert [group["user"] for group in told["groups"]] == ["ann"]
    (row,) = [row for row in told["findings"] if row["code"] == "audit_not_traced"]
    assert row["evidence"] == {"in_log": 2, "without_spans": 1}


def test_lines_that_are_no_client_times_are_refused(tmp_path):
    file = tmp_path / "client.jsonl"
    file.write_text('{"audit_id": "a", "wall_ns": 1}\n{"audit_id": 7}\n')
    with pytest.raises(k8strace.FormatError, match="line 2: expected an object with audit_id and wall_ns"):
        k8strace.read_client_times(file)


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.02])
def test_the_rate_is_told_by_ids(rate):
    """Ids as the SDK makes and keeps them: the interval holds the rate in at least 93 of 100 recordings."""
    held = 0
    for seed in range(200):
        ids = [format(random.Random(f"{seed}/{at}").getrandbits(128), "032x") for at in range(400)]
        kept = [each for each in ids if int(each[16:], 16) >> 1 < rate * 2**63]
        told = inferred(kept)
        held += (told is None and len(kept) < 20) or (told is not None and told.low <= rate <= told.high)
    assert held >= 186


@pytest.mark.parametrize("seed", SEEDS)
def test_a_thinned_recording_is_told_to_be_one(seed):
    """Only traces whose number is below a rate, as the sampler keeps them."""
    rate = random.Random(seed).uniform(0.05, 0.7)
    requests = k8strace.join(k8strace.read(BASE))
    kept = requests.where(trace_id=lambda each: int(each[16:], 16) >> 1 < rate * 2**63)
    (row,) = [row for row in kept.findings() if row["code"] == "sampled"]
    assert row["evidence"]["low"] <= rate <= row["evidence"]["low"] * 1.1
    assert (row["ns"], row["severity"]) == (0, "info")


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_recordings_of_everything_are_not_told_to_be_sampled(path):
    assert "sampled" not in {row["code"] for row in k8strace.join(k8strace.read(path)).findings()}


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
@pytest.mark.parametrize("keys", [("client",), ("verb", "resource"), ("minute",), ("instance", "client")])
def test_costs_of_groups_sum_to_the_total_exactly(path, keys):
    requests = k8strace.join(k8strace.read(path))
    (total,), parts = requests.cost(), list(requests.cost(*keys))
    for name, number in total.items():
        assert sum(part[name] for part in parts) == number
    components = [name for name in total if name.endswith("_ns") and name != "wall_ns"]
    for part in parts:
        assert sum(part[name] for name in components) == part["wall_ns"]
    kept = requests.where(has_valid_times=True, long_running=False).outermost()
    assert total["wall_ns"] == sum(kept.column("wall_ns"))
    assert total["requests"] == len(kept)


@pytest.mark.parametrize("rate", [0.5, 0.1])
def test_totals_are_estimated_from_a_part_of_the_traces(rate):
    """Traces thinned as the sampler does: the interval holds the truth in at least 93 of 100 draws."""
    requests = k8strace.join(k8strace.read(BASE))
    truth = {row["quantity"]: row["recorded"] for row in requests.estimate_totals(1.0)}
    held = dict.fromkeys(truth, 0)
    draws = 60
    for seed in range(draws):
        kept = requests.where(
            trace_id=lambda each, seed=seed: random.Random(f"{seed}/{each}").random() < rate
        )
        for row in kept.estimate_totals(rate):
            held[row["quantity"]] += row["low"] <= truth[row["quantity"]] <= row["high"]
    # Walls are few and heavy: webhooks that stall are a third of all time.
    assert held["requests"] >= 0.9 * draws
    assert held["etcd_calls"] >= 0.9 * draws


def test_totals_are_not_estimated_where_no_rate_is_known():
    requests = k8strace.join(k8strace.read(BASE))
    with pytest.raises(k8strace.SamplingError, match="the rate is not known"):
        requests[:5].estimate_totals()
    assert {row["rate"] for row in requests.estimate_totals()} == {1.0}


# ── Conflicts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("dropped", "conflicts"), [(0, 2), (9, 4)])
def test_conflicts_are_counted_by_transactions_where_events_were_dropped(dropped, conflicts):
    """Five transactions and two events: where none was dropped two attempts were in vain, else all but the last."""
    calls = [etcd_client("KV/Txn", 10 * at, 10 * at + 5) for at in range(1, 6)]
    events = [(26, "Retry value restored"), (46, "Retry value restored")]
    update = Span("GuaranteedUpdate etcd3", 5, 60, calls, events=events, dropped_events_count=dropped)
    patch = apiserver_request("1.34", "PATCH", "/api/v1/nodes/a", 0, 70, [verb_span("Patch", 1, 65, update)])
    (request,) = k8strace.join(k8strace.decode(batches(trace(patch))))
    assert request.conflicts == conflicts
    (found,) = [row for row in request._requests.findings() if row["code"] == "update_conflicts"]
    # From the start of the update, since it does not tell when the first attempt began, to the last new value.
    assert (found["ns"], found["evidence"]["conflicts"]) == (46 - 5, conflicts)


def test_sums_of_absurd_times_do_not_hide_the_rest():
    """Eight requests from 1970 to today: their sum is above what 64 bits hold."""
    now = 1_700_000_000_000_000_000
    called = replace(
        webhook("mutating", 2, now - 1, (3, now - 2)), attributes={"webhook": "slow.example.com"}
    )
    asked = apiserver_request("1.31", "POST", "/api/v1/pods", 1, now, [called])
    sent = [trace(asked, trace_id=number) for number in range(1, 9)]
    requests = k8strace.join(k8strace.decode(batches(*sent)))
    assert requests["wall_ns"].to_pylist() == [now - 1] * 8
    assert 2**63 - 1 in requests.findings()["ns"].to_pylist()
    assert requests.cost("client")["wall_ns"][0] == 2**63 - 1
    by = k8strace.attribute(requests).by("verb")
    assert by[0].all.wall_ns == 8 * (now - 1)
    assert by.to_arrow()["wall_ns"][0].as_py() == 2**63 - 1


def test_an_update_that_wins_at_once_has_no_conflict():
    update = Span(
        "GuaranteedUpdate etcd3",
        5,
        60,
        [etcd_client("KV/Txn", 10, 15)],
        events=[(6, "initial value restored")],
    )
    patch = apiserver_request("1.34", "PATCH", "/api/v1/nodes/a", 0, 70, [verb_span("Patch", 1, 65, update)])
    (request,) = k8strace.join(k8strace.decode(batches(trace(patch))))
    assert request.conflicts == 0


# ── Any input ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", sorted((DATA / "field").iterdir()), ids=lambda path: path.name)
def test_findings_survive_what_people_really_have(path):
    try:
        requests = k8strace.join(k8strace.read(path))
    except k8strace.K8straceError:
        return
    for row in requests.findings():
        assert len(requests.where(*row["where"])) >= row["requests"]
