"""Conditions, times and keys as people write them: laws, and answers worked out by hand."""

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import k8strace
from k8strace.selecting import condition_of, moment_of, predicate_of, span_of

NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}

NOON = 1_700_049_600 * 10**9
"""2023-11-15 12:00 UTC."""
HOUR = 3600 * 10**9


def fits(text, value, kind="text", *, is_time=False, any_case=False):
    return predicate_of(condition_of(text), kind, is_time=is_time, any_case=any_case)(value)


numbers = st.integers(0, 10**12)


@given(
    value=numbers | st.none(),
    bound=st.decimals(0, 10**6, places=3, allow_nan=False),
    unit=st.sampled_from(sorted(NS)),
)
def test_times_compare_with_their_unit_and_exactly(value, bound, unit):
    limit = Decimal(bound) * NS[unit]
    answers = {
        op: fits(f"wall_ns {op} {bound}{unit}", value, "int", is_time=True) for op in ("<", "<=", ">", ">=")
    }
    if value is None:
        assert not any(answers.values())
    else:
        assert answers == {
            "<": value < limit,
            "<=": value <= limit,
            ">": value > limit,
            ">=": value >= limit,
        }


@given(value=st.none() | st.booleans() | numbers | st.text(max_size=8), wanted=st.text(max_size=8))
def test_not_equal_is_whatever_equal_is_not(value, wanted):
    """None too: together they are all requests."""
    kind = {bool: "bool", int: "int"}.get(type(value), "text")
    wanted = wanted.strip().lstrip("=")
    assert fits(f"x={wanted}", value, kind) is not fits(f"x!={wanted}", value, kind)


@given(value=st.text(alphabet="abcXYZ-/.", min_size=1))
def test_a_value_is_equal_to_itself_as_it_is_written(value):
    assert fits(f"x={value}", value)
    assert fits(f"x == {value}", value)
    assert not fits(f"x={value}", None)
    assert fits(f"verb={value.upper()}", value.lower(), any_case=True)


@pytest.mark.parametrize(
    ("text", "value", "answer"),
    [
        ("ns=load-*", "load-3", True),
        ("ns=load-?", "load-33", False),
        ("ns=[ab]*", "b1", True),
        ("ns=a[b", "a[b", True),
        ("ns=", None, True),
        ("ns=", "", False),
        ("ns!=", "a", True),
        ("ns~^load-[0-3]$", "load-3", True),
        ("ns~oad", "load-3", True),
        ("ns~LOAD", "load-3", False),
        ("ns~.*", None, False),
        ("agent=a=b", "a=b", True),
        ("agent~a<b", "xa<by", True),
        ("pid>900", "1000", True),
        ("pid>900", "x", False),
        ("name>=m", "n", True),
    ],
)
def test_text(text, value, answer):
    assert fits(text, value) is answer


@pytest.mark.parametrize(
    ("text", "kind", "is_time", "message"),
    [
        ("verb", "text", False, "expected COLUMN=VALUE"),
        ("=list", "text", False, "expected COLUMN=VALUE"),
        ("", "text", False, "expected COLUMN=VALUE"),
        ("wall>100", "int", True, "expected a time with its unit"),
        ("wall=100", "int", True, "expected a time with its unit"),
        ("wall>fast", "int", True, "expected a time such as 100ms"),
        ("wall=fast", "int", True, "expected a time such as 100ms"),
        ("wall!=fast", "int", True, "expected a time such as 100ms"),
        ("spans>10ms", "int", False, "expected a number"),
        ("spans>", "int", False, "expected a number"),
        ("has_valid_times>1", "bool", False, "true or false"),
        ("name~(", "text", False, "expected a regular expression"),
        ("name~" + "(" * 5000, "text", False, "expected a regular expression"),
        ("name~a{99999999999999999999}", "text", False, "expected a regular expression"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_so(text, kind, is_time, message):
    with pytest.raises(k8strace.ConditionError, match=message):
        predicate_of(condition_of(text), kind, is_time=is_time, any_case=False)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    for read in (condition_of, lambda text: moment_of(text, (0, NOON))):
        with contextlib.suppress(k8strace.ConditionError):
            read(text)


# ---- times ----


@given(
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone follows
    hours=st.integers(-12, 12),
    ns=st.integers(0, 999),
)
def test_rfc_3339_is_read_to_the_nanosecond(moment, hours, ns):
    zoned = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    whole = (zoned - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    text = f"{zoned:%Y-%m-%dT%H:%M:%S}.{zoned.microsecond * 1000 + ns:09}{hours:+03}:00"
    assert moment_of(text, (0, 0)) == whole + ns
    assert moment_of(zoned, (0, 0)) == whole


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2023-11-15T12:00:00Z", NOON),
        ("2023-11-15t12:00:00z", NOON),
        ("2023-11-15 12:00", NOON),
        ("2023-11-15", NOON - 12 * HOUR),
        ("2023-11-15T13:00:00.25+01:00", NOON + 250_000_000),
        ("12:00", NOON),
        ("11:59:30.5", NOON - 29_500_000_000),
        ("-10m", NOON + HOUR - 600 * 10**9),
        ("10m", NOON + HOUR - 600 * 10**9),
        ("1.5h", NOON - HOUR // 2),
        ("0s", NOON + HOUR),
    ],
)
def test_times_of_a_recording_from_eleven_to_one(text, ns):
    assert moment_of(text, (NOON - HOUR, NOON + HOUR)) == ns


@pytest.mark.parametrize(
    "text", ["", "-", "yesterday", "24:00", "12:60", "2023-02-30", "10", "-5", "1e3s", "12:00:00+99:99"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(k8strace.ConditionError, match="14:05"):
        moment_of(text, (0, NOON))


def test_a_clock_time_is_the_last_one_within_a_recording_of_days():
    begin, end = NOON - 49 * HOUR, NOON + HOUR  # from the 13th, 11:00, to the 15th, 13:00
    assert moment_of("12:30", (begin, end)) == NOON + HOUR // 2
    assert moment_of("14:00", (begin, end)) == NOON - 22 * HOUR  # today it is over before
    assert moment_of("14:00", (NOON, NOON + HOUR)) == NOON + 2 * HOUR  # never: the nearer day


def test_midnight_may_lie_between_two_clock_times():
    begin, end = NOON + 11 * HOUR, NOON + 13 * HOUR
    since = moment_of("23:50", (begin, end))
    assert since == NOON + 12 * HOUR - 600 * 10**9
    assert moment_of("00:10", (begin, end), after=since) == NOON + 12 * HOUR + 600 * 10**9
    over = moment_of("23:50", (begin, begin + HOUR // 2))
    assert moment_of("00:10", (begin, begin + HOUR // 2), after=over) == NOON + 12 * HOUR + 600 * 10**9


def test_a_datetime_without_a_zone_says_nothing():
    with pytest.raises(k8strace.ConditionError, match="zone"):
        moment_of(datetime(2023, 11, 15), (0, NOON))  # noqa: DTZ001 - that is the point


@given(st.decimals(0, 10**6, places=3, allow_nan=False), st.sampled_from(sorted(NS)))
def test_lengths_of_time(number, unit):
    assert span_of(f"{number}{unit}") == int(Decimal(number) * NS[unit])


# ---- selections ----


@pytest.fixture(scope="module")
def everything(capture_136: Path) -> k8strace.Requests:
    return k8strace.join(k8strace.read(capture_136))


@given(cuts=st.lists(st.integers(-(10**9), 40 * 10**9), min_size=1, max_size=6))
def test_times_that_follow_each_other_hold_every_request_once(everything, cuts):
    begin = everything.joined.recorded[0]
    edges = [None, *sorted(begin + cut for cut in cuts), None]
    parts = [everything.between(start, end) for start, end in pairwise(edges)]
    assert (
        sorted(row for part in parts for row in part.column("request"))
        == everything.column("request").to_pylist()
    )


def test_the_start_is_within_and_the_end_is_not(everything):
    first, second = everything[0].start_unix_nano, everything[1].start_unix_nano
    assert first < second
    assert everything.between(first, second).column("request").to_pylist() == [0]
    assert len(everything.between(first + 1, second)) == 0
    assert len(everything.between(end=first)) == 0


def test_conditions_select_what_python_selects(everything):
    chosen = everything.where("verb=LIST", "wall>5ms", "namespace~^load", "http_status!=404", resource="pods")
    assert list(chosen) == [
        each
        for each in everything
        if each.verb == "list"
        and each.wall_ns > 5_000_000
        and (each.namespace or "").startswith("load")
        and each.http_status != 404
        and each.resource == "pods"
    ]
    assert len(chosen) > 5
    assert list(everything.where(verb="LIST")) == list(everything.where("verb=list"))


def test_a_status_is_a_class_or_a_code(everything):
    assert list(everything.where("status=404")) == list(everything.where(http_status=404))
    assert list(everything.where("status=4xx")) == list(
        everything.where("http_status>=400", "http_status<500")
    )
    assert list(everything.where("status>=500")) == list(everything.where("status=5xx"))


KEYS = [
    "status",
    "client",
    "hour",
    "minute",
    "10s",
    "time:250ms",
    "time:1ns",
    "resource.service.name",
    "wall_ns",
]


@pytest.mark.parametrize(
    "keys", [*([key] for key in KEYS), ["10s", "verb"], ["client", "status", "resource"]]
)
@pytest.mark.parametrize("method", ["critical_path", "active_share", "self_time"])
def test_groups_sum_to_the_total_exactly(everything, keys, method):
    attribution = k8strace.attribute(everything, method=method)
    (total,) = attribution.by()
    groups = attribution.by(*keys)
    assert sum(group.requests for group in groups) == total.requests
    assert sum(group.all.wall_ns for group in groups) == total.all.wall_ns
    phases: dict[str, int] = {}
    for group in groups:
        for phase, ns in group.all.phases.items():
            phases[phase] = phases.get(phase, 0) + ns
    assert phases == total.all.phases


def test_steps_of_time_begin_where_clocks_begin_them(everything):
    for step, length in (("10s", 10), ("time:minute", 60), ("hour", 3600)):
        for start, told in zip(everything.column("start_unix_nano"), everything.column(step), strict=True):
            seconds = start // 10**9 // length * length
            assert told == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("agent", "client"),
    [
        ("kubectl/v1.27.7 (linux/amd64) kubernetes/07a61d8", "kubectl/v1.27.7"),
        ("kubelet/v1.31.1+k3s1 (linux/arm64) kubernetes/$Format", "kubelet/v1.31.1+k3s1"),
        (
            "kube-controller-manager/v1.36.2 (linux/amd64) kubernetes/5a1f/system:serviceaccount:kube-system:jobs",
            "kube-controller-manager/v1.36.2/system:serviceaccount:kube-system:jobs",
        ),
        ("Go-http-client/2.0", "Go-http-client/2.0"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Mozilla/5.0 AppleWebKit/537.36"),
        (" (linux/amd64)", " (linux/amd64)"),
    ],
)
def test_a_client_is_its_user_agent_without_its_build(agent, client):
    from k8strace.keys import client_of

    assert client_of(agent) == client


def test_a_request_is_found_by_each_webhook_that_it_called(everything):
    calls = everything.webhook_calls
    for name in set(calls.column("webhook").to_pylist()):
        called = {call["request"] for call in calls if call["webhook"] == name}
        found = everything.where(f"webhook={name}")
        assert set(found.column("request")) == called == set(everything.where(webhook=name).column("request"))
        assert len(found) + len(everything.where(f"webhook!={name}")) == len(everything)


@pytest.mark.parametrize("version", ["1.27_etcd-3.5", "1.31_etcd-3.5", "1.36_etcd-3.6"])
def test_a_read_is_from_the_cache_or_from_etcd_as_its_query_says(version):
    """`resourceVersion=0` is answered from the cache; a get without it from etcd, in these versions."""
    path = Path(__file__).parent / "data" / f"k8s-{version}.otlp.zst"
    requests = k8strace.join(k8strace.read(path))
    told = {"get": {"etcd"}, "list": {"etcd"} if version.startswith("1.27") else {"watch cache"}}
    for request, cached in zip(requests, requests.column("cached"), strict=True):
        if request.verb not in told or request.resource is None or request.http_status != 200:
            assert cached is None
        elif "resourceVersion=0" in request.target:
            assert cached == "watch cache"
        elif "limit=" not in request.target:
            assert cached in told[request.verb]


# ---- the command line ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--where", "verb=lsit"],
            "verb=lsit fits no request: verb is create, get, update, watch, patch, list, delete",
        ),
        (
            ["--where", "verb=list", "--where", "http_status=500"],
            "http_status=500 fits 46 requests, but none of the 87 that verb=list fits",
        ),
        (["--where", "wall>100s"], "wall>100s fits no request: wall_ns is from 170 µs to 30.6 s"),
        (
            ["--until", "10:00"],
            "--until 10:00 fits no request: the recording is from 2026-11-22T14:12:39.232Z",
        ),
    ],
)
def test_a_selection_of_nothing_says_which_part_fits_nothing(capture_136, capsys, arguments, message):
    from k8strace.cli import main

    assert main(["requests", str(capture_136), *arguments, "--json"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err


def test_a_what_if_about_no_request_says_so(capture_136, capsys):
    from k8strace.cli import main

    assert main(["whatif", str(capture_136), "--cached", "lsit", "--json"]) == 0
    assert "verb=lsit fits no request: verb is create, get" in capsys.readouterr().err


@pytest.mark.parametrize("since", [["--since", "-10s"], ["--since=-10s"], ["--since", "10s"]])
def test_a_time_before_the_end_may_be_written_with_its_sign(capture_136, capsys, since):
    from k8strace.cli import main

    assert main(["requests", str(capture_136), "--json", *since]) == 0
    assert capsys.readouterr().out.count("\n") == 55
