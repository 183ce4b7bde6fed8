"""Text for terminals: safe, aligned, never too wide; bars that add up; trees as drawn by hand."""

from __future__ import annotations

import re
import unicodedata

import pytest
from builder import Trace, apiserver_request, etcd_client, etcd_server, trace, verb_span, webhook
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

import k8strace
from k8strace.views.branches import request_lines, title_of
from k8strace.views.breakdown import Wanted
from k8strace.views.facts import findings, processes
from k8strace.views.report import report_lines
from k8strace.views.text import (
    Look,
    bar,
    clean,
    columns,
    duration,
    more_of,
    percent,
    render,
    spread,
    to_ascii,
    wrapped,
)

PLAIN = Look(100)


def joined(*traces: Trace) -> k8strace.Requests:
    return k8strace.join(k8strace.decode([batch for each in traces for batch in each.batches()]))


def codes(requests: k8strace.Requests) -> set[str]:
    return {finding.code for finding in findings(requests.spans, requests)}


# ── Words ─────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(), st.integers(1, 50))
def test_clean_text_has_nothing_that_a_terminal_obeys(text, limit):
    shown = clean(text, limit)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(shown) <= limit


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), max_size=50))
def test_what_is_harmless_stays_as_it_is(text):
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x9b2J", r"\x9b2J"),
        ("abc\u202edef\u2066", r"abc\u202edef\u2066"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("\u2028", r"\u2028"),
        ("\udc80", r"\udc80"),
        ("größe 大", "größe 大"),
    ],
)
def test_controls_become_visible_escapes(text, shown):
    assert clean(text) == shown


# ── Numbers ───────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 999 * 10**9))
def test_a_duration_has_three_significant_digits(ns):
    value, unit = duration(ns).split()
    size = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9}[unit]
    assert abs(float(value.replace(",", "")) * size - ns) <= ns * 0.005
    assert len(value.replace(".", "")) <= 3 or unit == "s"


@pytest.mark.parametrize(
    ("ns", "shown"),
    [(999, "999 ns"), (1_000, "1.00 µs"), (999_499, "999 µs"), (999_500, "1.00 ms"), (-1_500, "-1.50 µs")],
)
def test_a_duration_changes_its_unit_where_it_should(ns, shown):
    assert duration(ns) == shown


def test_a_share_never_claims_all_or_nothing_falsely():
    assert percent(10**9 - 1, 10**9) == "99.9%"
    assert percent(1, 10**9) == "<0.1%"


@given(st.lists(st.integers(0, 10**18), max_size=8), st.integers(0, 80))
def test_cells_add_up_and_none_is_off_by_one(parts, cells):
    given_cells, whole = spread(parts, cells), sum(parts)
    assert sum(given_cells) == (cells if whole else 0)
    assert all(
        abs(given * whole - part * cells) < whole
        for given, part in zip(given_cells, parts, strict=True)
        if whole
    )


# ── Lines ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_bar_is_told_apart_without_colours():
    assert bar({"apiserver": 2, "etcd": 1, "webhook": 1}, 8, PLAIN).plain == "████▓▓▒▒"


def test_columns_are_aligned_and_the_elastic_one_gives_way():
    rows = [["a" * 80, "1"], ["b", "100"]]
    lines = [line.plain for line in columns(rows, Look(60), align="lr")]
    assert [len(line) for line in lines] == [60, 60]
    assert lines[0].endswith("…   1")
    assert lines[1].endswith(" 100")


def test_markup_in_span_text_is_only_text():
    assert render([Text("[bold]x[/bold]")], Look(60, colour=True)).strip() == "[bold]x[/bold]"


def test_a_sentence_hangs_below_its_first_word():
    first, second = wrapped("word " * 20, Look(60), mark=Text("! "))
    assert first.plain.startswith("  ! word")
    assert second.plain.startswith("    word")


def test_ascii_is_ascii():
    assert to_ascii("█▓▒░─│├└·…µ✗").isascii()


@given(st.lists(st.text(max_size=200), max_size=5), st.integers(60, 140))
def test_no_line_is_wider_than_asked(texts, width):
    lines = columns([[clean(text), "1"] for text in texts], Look(width), align="lr")
    assert all(Text(line).cell_len <= width for line in render(lines, Look(width)).splitlines())


# ── Trees ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_tree_is_drawn_over_time():
    """A column is 10 ns. Full: the request waits for this span. Line: it is open, but others are waited for."""
    calls = [
        webhook("mutating", 20, 50, (20, 50)),
        etcd_client("KV/Txn", 60, 90, etcd_server("KV/Txn", 70, 80)),
    ]
    requests = joined(
        trace(
            apiserver_request("1.34", "POST", "/api/v1/pods", 0, 100, [verb_span("Create", 10, 100, *calls)])
        )
    )
    assert bars(requests, Look(64)) == [
        "0   100 ns",
        "──────────",  # POST
        "──────────",  # audit
        "──────────",  # impersonation
        "──────────",  # priorityandfairness
        "█─────────",  # authorization
        " █───█───█",  # Create
        "  ───     ",  # Call mutating webhook
        "  ███     ",  # HTTP POST
        "      █─█ ",  # etcd's client
        "       █  ",  # etcd
    ]


def bars(requests: k8strace.Requests, look: Look) -> list[str]:
    """The last ten columns of the tree."""
    lines = request_lines(requests[0], k8strace.attribute(requests), look)
    return [line.plain.ljust(look.width)[-10:] for line in tree_part(lines)]


def tree_part(lines):
    """The header of the tree, and what is below it."""
    return lines[next(at for at, line in enumerate(lines) if line.plain.lstrip().startswith("span ")) :]


def test_a_request_of_no_length_is_drawn():
    requests = joined(trace(apiserver_request("1.31", "GET", "/healthz", 7, 7, [])))
    lines = request_lines(requests[0], k8strace.attribute(requests), PLAIN)
    assert [line.plain.count("─") for line in tree_part(lines)[1:]] == [1, 1]


def test_a_large_tree_keeps_what_was_waited_for_and_what_is_above_it():
    calls = [etcd_client("KV/Range", at, at + (50 if at == 500 else 1)) for at in range(0, 900, 10)]
    requests = joined(
        trace(apiserver_request("1.34", "GET", "/api/v1/pods", 0, 1000, [verb_span("List", 0, 1000, *calls)]))
    )
    lines = request_lines(requests[0], k8strace.attribute(requests), PLAIN, limit=7)
    shown = [line.plain.strip() for line in tree_part(lines)[1:]]
    assert len(shown) == 7 + 1
    assert "etcdserverpb.KV/Range" in shown[6]
    assert " 50 ns    50 ns " in shown[6]
    assert shown[-1] == "… 89 more spans"


def test_a_deep_tree_fits_the_width():
    inner = verb_span("Get", 500, 501)
    for depth in range(300):
        inner = verb_span(f"step {depth}", 499 - depth, 502 + depth, inner)
    requests = joined(trace(apiserver_request("1.34", "GET", "/api/v1/pods/a", 0, 1000, [inner])))
    lines = request_lines(requests[0], k8strace.attribute(requests), Look(80))
    assert max(line.cell_len for line in lines) <= 80
    assert any("step 0" in line.plain for line in lines)


def test_every_level_of_a_deep_tree_is_further_right():
    inner = verb_span("Get", 500, 501)
    for depth in range(24):
        inner = verb_span(f"step {depth}", 499 - depth, 502 + depth, inner)
    requests = joined(trace(apiserver_request("1.34", "GET", "/api/v1/pods/a", 0, 1000, [inner])))
    for width in (66, 80, 120, 200):
        lines = request_lines(requests[0], k8strace.attribute(requests), Look(width))
        places = [line.plain.find("step ") for line in lines if "step " in line.plain]
        assert places == sorted(set(places)), width


def test_one_is_singular():
    assert more_of(1, "request").plain == "… 1 more request"
    requests = joined(trace(apiserver_request("1.31", "GET", "/healthz", 0, 5, [])))
    text = "\n".join(
        line.plain for line in report_lines(k8strace.attribute(requests), requests, PLAIN, Wanted())
    )
    assert "1 API request," in text
    assert not re.search(r"\b1 (?!ns)[a-z]+s\b", text)


def test_a_request_is_titled_as_kubectl_says_it():
    requests = joined(
        trace(
            apiserver_request("1.31", "GET", "/api/v1/namespaces/shop/pods/web-1/log?follow=true", 0, 1, [])
        ),
        trace(apiserver_request("1.31", "GET", "/livez/etcd?verbose", 5, 6, []), trace_id=2),
    )
    assert [title_of(request) for request in requests] == ["get pods/log web-1 -n shop", "get /livez/etcd"]


# ── What is wrong ─────────────────────────────────────────────────────────────────────────────────

GET = verb_span("Get", 10, 90, etcd_client("KV/Range", 20, 60, etcd_server("KV/Range", 25, 50)))


def sound(trace_id: int = 1, **fields: int) -> Trace:
    request = apiserver_request("1.34", "GET", "/api/v1/namespaces/a/pods/b", 0, 100, [GET])
    return Trace(trace_id, [request], **fields)


def report(requests: k8strace.Requests) -> str:
    return render(report_lines(k8strace.attribute(requests), requests, PLAIN, Wanted()), PLAIN)


def test_of_sound_data_nothing_is_said():
    requests = joined(sound())
    assert codes(requests) == set()
    assert report(requests).endswith("8 used + 0 set aside. Nothing is wrong with the data.\n")
    verbose = report_lines(k8strace.attribute(requests), requests, PLAIN, Wanted(verbose=True))
    assert render(verbose, PLAIN).endswith("What is wrong with the data\n  Nothing.\n")


def test_etcd_without_its_spans_is_named():
    call = verb_span("Get", 10, 90, etcd_client("KV/Range", 20, 60))
    requests = joined(
        sound(), trace(apiserver_request("1.34", "GET", "/api/v1/pods", 0, 100, [call]), trace_id=2)
    )
    assert "etcd_not_traced" in codes(requests)
    assert "1 of 2 etcd calls came without etcd's own span" in report(requests)


def test_lost_parents_are_named():
    lost_etcd = trace(etcd_server("KV/Range", 5, 6), trace_id=8, parent_span_id=99)
    lost_root = trace(verb_span("Get", 5, 6), trace_id=9, parent_span_id=98)
    requests = joined(sound(), lost_etcd, lost_root)
    assert {"orphan", "root_missing"} <= codes(requests)


def test_lost_watches_are_normal():
    requests = joined(sound(), trace(etcd_server("Watch/Watch", 5, 6), trace_id=8, parent_span_id=99))
    (finding,) = findings(requests.spans, requests)
    assert (finding.code, finding.wrong) == ("orphan", False)


def test_repeats_are_named():
    batches = sound().batches()
    requests = k8strace.join(k8strace.decode([*batches, *batches]))
    assert "duplicate" in codes(requests)
    assert "4 more" not in report(requests)


def test_a_wrong_clock_is_named_with_its_offset():
    """etcd's clock is 1000 ns ahead: its span lies outside its caller's."""
    call = etcd_client("KV/Range", 20, 60, etcd_server("KV/Range", 1025, 1050))
    requests = joined(
        trace(apiserver_request("1.34", "GET", "/api/v1/pods/b", 0, 100, [verb_span("Get", 10, 90, call)]))
    )
    assert "clock_offset" in codes(requests)
    assert "990 ns ahead" in report(requests)


def test_recordings_without_requests_say_who_sent_them():
    requests = joined(trace(etcd_server("KV/Range", 5, 6)))
    assert "no_requests" in codes(requests)
    assert "they come from etcd." in report(requests)


# ── Processes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("agents", "version"),
    [
        (["kube-apiserver/v1.31.2 (linux/amd64) kubernetes/abc"], "v1.31.2"),
        (["kube-apiserver/v0.0.0 (linux/amd64) kubernetes/$Format"], None),
        (["kube-apiserver/v1.31.2", "kube-apiserver/v1.30.1"], None),
        (["kube-controller-manager/v1.31.2"], None),
    ],
)
def test_an_apiserver_tells_its_version_by_its_calls_to_itself(agents, version):
    requests = joined(
        *(
            trace(
                apiserver_request("1.31", "GET", "/api", 0, 9, [], attributes={"http.user_agent": agent}),
                trace_id=number,
            )
            for number, agent in enumerate(agents, 1)
        )
    )
    assert [each.version for each in processes(requests.spans, requests)] == [version]
