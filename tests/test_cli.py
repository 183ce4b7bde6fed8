"""The command line, run as people run it: real processes on the real captures."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from builder import Span, Trace, apiserver_request, batches, etcd_client, trace, verb_span
from test_oracle import CAPTURES, COUNTS

ROOT = Path(__file__).parent.parent
K8STRACE = (sys.executable, "-m", "k8strace")
CAPTURE = str(CAPTURES["1.36"])

TOLD_TWICE = {
    "batches": "batches",
    "spans": "spans",
    "traces": "traces",
    "requests": "requests",
    "pairs": "rpc_pairs",
    "etcd_clients_background": "background_calls",
    "etcd_servers_parent_missing": "orphans",
}
"""Name in the published counts → name in `report --json`."""

REQUEST_KEYS = [
    *("trace_id", "span_id", "name", "verb", "resource", "subresource", "namespace", "user_agent"),
    *(
        "http_status",
        "start_unix_nano",
        "wall_ns",
        "components",
        "phases",
        "etcd_calls",
        "repairs",
        "complete",
    ),
]

Ran = subprocess.CompletedProcess[str]


@cache
def run(*arguments: str, **environment: str) -> Ran:
    return run_with(arguments, environment)


def run_with(arguments, environment=None, stdin: bytes | None = b"") -> Ran:
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    done = subprocess.run(
        [*K8STRACE, *arguments],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        env=clean | {"PYTHONIOENCODING": "utf-8", "TERM": "xterm-256color"} | (environment or {}),
        check=False,
        timeout=120,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def at_terminal(*arguments: str, columns: int = 100, **environment: str) -> str:
    """What a terminal of this width is sent."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [*K8STRACE, *arguments],
        stdout=terminal,
        stderr=terminal,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ
        | {"COLUMNS": str(columns), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        | environment,
    )
    os.close(terminal)
    sent = bytearray()
    try:
        while chunk := os.read(controller, 65536):
            sent += chunk
    except OSError:  # Linux says so when the last writer is gone
        pass
    os.close(controller)
    process.wait(60)
    return sent.decode()


def published(version: str) -> dict[str, int]:
    versions, *lines = (line.split() for line in COUNTS.strip().splitlines())
    return {name: int(numbers[versions.index(version)]) for name, *numbers in lines}


def records(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


# ── report ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("version", CAPTURES)
def test_the_report_has_the_published_counts(version):
    (report,) = records(run("report", str(CAPTURES[version]), "--json").stdout)
    expected = published(version)
    assert {name: report[key] for name, key in TOLD_TWICE.items()} == {
        name: expected[name] for name in TOLD_TWICE
    }


@pytest.mark.parametrize("version", CAPTURES)
def test_the_report_adds_up(version):
    (report,) = records(run("report", str(CAPTURES[version]), "--json").stdout)
    ledger = report["ledger"]
    assert (
        ledger["spans"] == sum(ledger["used"].values()) + sum(ledger["set_aside"].values()) == report["spans"]
    )
    assert sum(source["spans"] for source in report["sources"]) == report["spans"]
    assert sum(process["spans"] for process in report["processes"]) == report["spans"]
    assert sum(group["count"] for group in report["groups"]) == report["requests"] - report["long_running"]
    assert report["duplicates"] == ledger["set_aside"]["duplicate"] + ledger["set_aside"]["conflict"]
    for group in report["groups"]:
        assert sum(group["components"].values()) == sum(group["phases"].values()) == group["wall_ns"]
        assert group["p50_ns"] <= group["p90_ns"] <= group["p99_ns"]


@pytest.mark.slow
@pytest.mark.parametrize("version", CAPTURES)
def test_the_report_says_it_in_plain_words(version):
    text, expected = run("report", str(CAPTURES[version]), "--verbose").stdout, published(version)
    assert (
        f"{expected['spans']:,} spans in {expected['traces']:,} traces, {expected['batches']} batches" in text
    )
    assert "proto-frames+zstd" in text
    assert "The 3 slowest requests" in text
    assert f"{expected['etcd_servers_parent_missing']} spans (etcdserverpb.Watch/Watch)" in text
    wide = run("report", str(CAPTURES[version]), "--width", "140").stdout
    told = r"verb +resource +count +4xx +5xx +p50 +p90 +p99 +total +apiserver +etcd +webhook"
    assert re.search(told, wide)
    assert "16,766" not in wide or "Ledger: 16,766 spans = 16,249 used + 517 set aside." in wide


def test_the_first_line_is_what_costs_most():
    first, *_ = run("report", CAPTURE).stdout.splitlines()
    assert first.startswith("! The webhook mutate.example.com took 30% of all time")


@pytest.mark.slow
def test_groups_come_in_the_order_that_is_asked_for():
    def groups(*arguments):
        (report,) = records(run("report", CAPTURE, "--json", *arguments).stdout)
        return report["groups"]

    by_count = [group["count"] for group in groups("--sort", "count")]
    assert by_count == sorted(by_count, reverse=True)
    by_errors = [
        sum(each["count"] for each in group["errors"].values()) for group in groups("--sort", "errors")
    ]
    assert by_errors == sorted(by_errors, reverse=True)
    slow = groups("--sort", "p99", "--quantiles", "0.25,0.999")
    assert {"p25_ns", "p99.9_ns"} <= slow[0].keys()
    assert "p99_ns" not in slow[0]
    steps = [group["10s"] for group in groups("--by", "10s")]
    assert steps == sorted(steps)
    assert len(steps) == 4


@pytest.mark.slow
def test_errors_are_counted_as_their_requests_say():
    (report,) = records(run("report", CAPTURE, "--json", "--by", "status").stdout)
    every = [each for each in records(run("requests", CAPTURE, "--json").stdout) if not each["long_running"]]
    for status in ("4xx", "5xx"):
        (group,) = (group for group in report["groups"] if group["status"] == status)
        chosen = [each for each in every if each["http_status"] // 100 == int(status[0])]
        assert group["errors"] == {
            status: {"count": len(chosen), "wall_ns": sum(each["wall_ns"] for each in chosen)}
        }


def test_steps_without_requests_are_in_the_timeline():
    text = run("report", CAPTURE, "--by", "1s", "--slowest", "0").stdout
    assert re.search(r"^  14:13:02 +0$", text, re.MULTILINE)


def test_phases_stand_below_their_group():
    lines = run("report", CAPTURE, "--phases", "--slowest", "0").stdout.splitlines()
    row = next(at for at, line in enumerate(lines) if line.startswith("  update   configmaps"))
    assert lines[row + 1].startswith("    webhook.")


@pytest.mark.slow
def test_slowest_top_and_by_are_obeyed():
    text = run(
        "report", CAPTURE, "--slowest", "1", "--top", "2", "--by", "user_agent", "--width", "160"
    ).stdout
    table = text.partition("Where the time went")[2].partition("Not in here")[0].splitlines()
    assert "The slowest request " in text
    assert "2. " not in text
    assert [line.split()[0] for line in table[1:] if line.strip()][:2] == ["user_agent", "all"]
    assert len([line for line in table[1:] if line.strip()]) == 1 + 1 + 2 + 1


@pytest.mark.slow
def test_where_selects_by_value_and_by_pattern():
    every = records(run("requests", CAPTURE, "--json").stdout)
    some = records(
        run("requests", CAPTURE, "--json", "--where", "verb=list", "--where", "resource=p*").stdout
    )
    assert some == [
        each for each in every if each["verb"] == "list" and (each["resource"] or "").startswith("p")
    ]
    none = records(run("requests", CAPTURE, "--json", "--where", "resource=").stdout)
    assert none == [each for each in every if each["resource"] is None]
    watches = records(run("requests", CAPTURE, "--json", "--where", "long_running=true").stdout)
    assert watches == [each for each in every if each["long_running"]]


@pytest.mark.slow
def test_the_methods_are_obeyed():
    """Only self time counts parallel webhooks twice."""
    path, share, own = (
        records(run("requests", CAPTURE, "--json", "--method", method).stdout)
        for method in ("critical_path", "active_share", "self_time")
    )
    walls = [each["wall_ns"] for each in path]
    assert walls == [sum(each["components"].values()) for each in share]
    over = [sum(each["phases"].values()) - wall for each, wall in zip(own, walls, strict=True)]
    assert min(over) == 0 < max(over)


# ── requests ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("version", CAPTURES)
def test_every_request_is_a_line_that_sums(version):
    lines = records(run("requests", str(CAPTURES[version]), "--json").stdout)
    assert len(lines) == published(version)["requests"]
    for each in lines:
        assert list(each)[: len(REQUEST_KEYS)] == REQUEST_KEYS
        assert sum(each["components"].values()) == sum(each["phases"].values()) == each["wall_ns"]
        assert {phase.partition(".")[0] for phase in each["phases"]} == set(each["components"])
        assert re.fullmatch("[0-9a-f]{32} [0-9a-f]{16}", f"{each['trace_id']} {each['span_id']}")
        assert isinstance(each["complete"], bool)


@pytest.mark.parametrize("version", CAPTURES)
def test_every_etcd_call_below_a_request_is_in_its_line(version):
    lines = records(run("requests", str(CAPTURES[version]), "--json").stdout)
    calls = [call for each in lines for call in each["etcd_calls"]]
    assert len(calls) == published(version)["etcd_clients_below_request"]
    assert all(call["client_ns"] - call["server_ns"] == call["transport_ns"] for call in calls)


@pytest.mark.slow
def test_the_table_is_slowest_first_and_bounded():
    lines = run("requests", CAPTURE, "--limit", "5").stdout.splitlines()
    slowest = records(run("requests", CAPTURE, "--json", "--slowest", "5").stdout)
    assert lines[1 + 5 :] == [
        "… 1,288 more requests",
        "118 requests that stay open by nature are not in the table: watch 118",
    ]
    assert [each["trace_id"][:12] in line for each, line in zip(slowest, lines[1:], strict=False)] == [
        True
    ] * 5
    assert not any(each["long_running"] for each in slowest)


@pytest.mark.slow
def test_json_has_all_requests_or_as_many_as_asked_for():
    assert len(records(run("requests", CAPTURE, "--json", "--limit", "7").stdout)) == 7
    assert len(records(run("requests", CAPTURE, "--json").stdout)) == 1411


# ── tree ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_a_tree_shows_every_span_of_the_trace():
    (slowest,) = records(run("requests", CAPTURE, "--json", "--slowest", "1").stdout)
    text = run("tree", CAPTURE, slowest["trace_id"][:10].upper()).stdout
    (tree,) = records(run("tree", CAPTURE, slowest["trace_id"], "--json").stdout)
    (request,) = tree["requests"]
    spans = request["tree"]["spans"]
    assert slowest["trace_id"] in text
    head = text[: text.index("\n  span ")].splitlines()
    errors = [span["error"] for span in spans if span["error"]]
    assert errors == ["context deadline exceeded"]
    assert len(text.splitlines()) == len(head) + 1 + len(spans) + len(errors)
    assert "✗ context deadline exceeded" in text
    assert spans[0]["parent"] is None
    assert all(span["parent"] in {each["span_id"] for each in spans} for span in spans[1:])
    assert sum(span["critical_ns"] for span in spans) == request["wall_ns"] == slowest["wall_ns"]


def test_a_trace_that_is_not_there():
    done = run("tree", CAPTURE, "f" * 32)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"k8strace: no trace begins with {'f' * 32}\n"


def test_a_beginning_that_several_traces_have():
    done = run("tree", CAPTURE, "5")
    assert done.returncode == 1
    assert re.fullmatch(
        r"k8strace: \d+ traces with requests begin with 5: 5[0-9a-f]{31}, .*, …\n", done.stderr
    )


def test_a_trace_without_requests_says_what_became_of_its_spans(tmp_path):
    lost = write(tmp_path, trace(Span("etcdserverpb.Watch/Watch", 5, 6), trace_id=0xABC, parent_span_id=9))
    done = run_with(["tree", lost, "0" * 29 + "abc"])
    assert done.returncode == 1
    assert "no API request" in done.stderr
    assert "1" in done.stderr


# ── Input ─────────────────────────────────────────────────────────────────────────────────────────


def write(folder: Path, *traces: Trace) -> str:
    path = folder / "traces.otlp"
    path.write_bytes(b"".join(batch.SerializeToString() for batch in batches(*traces)))
    return str(path)


def test_standard_input_is_read_like_a_file():
    piped = run_with(["requests", "-", "--json"], stdin=CAPTURES["1.36"].read_bytes())
    assert piped.stdout == run("requests", CAPTURE, "--json").stdout


@pytest.mark.slow
def test_patterns_and_several_files_are_read_together():
    (quoted,) = records(run("report", "tests/data/*.otlp.zst", "--json").stdout)
    (named,) = records(
        run("report", *(f"tests/data/{path.name}" for path in CAPTURES.values()), "--json").stdout
    )
    assert quoted == named
    assert quoted["spans"] == sum(published(version)["spans"] for version in CAPTURES)
    assert [source["spans"] for source in quoted["sources"]] == [
        published(each)["spans"] for each in CAPTURES
    ]


@pytest.mark.slow
def test_a_torn_file_is_read_and_named_or_refused():
    torn = CAPTURES["1.36"].read_bytes()[:200_000]
    kept = run_with(["report", "-"], stdin=torn)
    refused = run_with(["report", "-", "--strict"], stdin=torn)
    assert kept.returncode == 0
    assert "! <stdin> is torn at byte 200,000" in kept.stdout
    assert (refused.returncode, refused.stdout) == (1, "")
    assert len(refused.stderr.splitlines()) == 1


def test_nothing_at_all_is_a_report_too():
    done = run_with(["report", "-"])
    assert done.returncode == 0
    assert "There is no API request here" in done.stdout


# ── Errors ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["report", "no/such.file"], 1, "no/such.file: No such file or directory"),
        (["report", "no/such*"], 1, "expected files that match 'no/such*', got none"),
        (["report", "README.md"], 1, "fits no format"),
        (["report", CAPTURE, "--format", "xml"], 2, "got 'xml'"),
        ([], 2, "required: COMMAND"),
        (["report"], 2, "expected FILE"),
        (["report", CAPTURE, "--slowest", "-1"], 2, "expected a whole number"),
        (["report", CAPTURE, "--width", "5"], 2, "from 40 to 1000"),
        (["report", CAPTURE, "--by", "colour"], 2, "no column 'colour'"),
        (["report", CAPTURE, "--where", "verb"], 2, "expected COLUMN=VALUE (or != < > <= >= ~), got 'verb'"),
        (["report", CAPTURE, "--where", "colour=red"], 2, "no column 'colour'"),
        (["report", "-", "-"], 2, "only once"),
        (["tree", CAPTURE, "xyz"], 2, "expected a trace id of up to 32 hex digits, got 'xyz'"),
    ],
)
def test_an_error_is_one_line_and_a_code(arguments, code, message):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("k8strace: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_ambiguous_prefix_names_what_it_fits():
    """Up to twenty: the official count of traces that begin so is in the message, too."""
    traces = {each["trace_id"] for each in records(run("requests", CAPTURE, "--json").stdout)}
    for prefix, most in (("0", 20), ("00", 20)):
        fitting = [trace for trace in traces if trace.startswith(prefix)]
        told = re.findall("[0-9a-f]{32}", run("tree", CAPTURE, prefix).stderr)
        assert len(told) == min(len(fitting), most)
        assert set(told) <= set(fitting)


@pytest.mark.slow
@pytest.mark.parametrize("width", [40, 50])
def test_narrow_output_drops_columns_and_says_which(width):
    for command in ("report", "requests"):
        lines = run(command, CAPTURE, "--width", str(width)).stdout.splitlines()
        assert max(map(len, lines)) <= width
        table = "\n".join(lines)
        assert re.search(r"Too narrow for [\w, ]+", table)
        assert "configmaps" in table


@pytest.mark.slow
def test_help_and_version_need_no_file():
    assert re.fullmatch(r"k8strace \d+\.\d+\.\d+\S*\n", run("--version").stdout)
    for command in ([], ["report"], ["requests"], ["tree"]):
        done = run(*command, "--help")
        assert done.returncode == 0
        assert "examples:" in done.stdout
        assert "exit codes:" in done.stdout


def test_a_closed_pipe_is_quiet():
    process = subprocess.Popen(
        [*K8STRACE, "requests", CAPTURE, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), said) == (141, b"")


# ── Output ────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = "\x1b[31m\x1b]0;title\x07\r\n\u202eevil\x9b2J\u2028\x00\x7f[bold]x[/bold]"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> str:
    """A recording in which every text tries to command the terminal."""
    call = etcd_client("KV/Range" + HOSTILE, 20, 60)
    get = verb_span("Get" + HOSTILE, 10, 90, call)
    request = apiserver_request(
        "1.31",
        "GET",
        "/api/v1/namespaces/ns%1b%0a/pods/" + HOSTILE,
        0,
        100,
        [get],
        attributes={"http.user_agent": HOSTILE},
        template="/" + HOSTILE,
        process=("apiserver", HOSTILE),
    )
    lost = trace(Span("lost" + HOSTILE, 5, 6, process=("etcd", "")), trace_id=7, parent_span_id=99)
    alone = trace(Span("alone" + HOSTILE, 5, 6, process=(HOSTILE, "")), trace_id=8)
    return write(tmp_path_factory.mktemp("hostile"), trace(request), lost, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["report"],
        ["report", "--by", "user_agent,name"],
        ["requests"],
        ["requests", "--json"],
        ["report", "--json"],
    ],
    ids=" ".join,
)
def test_no_control_in_span_text_reaches_the_output(hostile, arguments):
    output = run_with([*arguments, hostile]).stdout
    assert not [char for char in output if not char.isprintable() and char != "\n"]


@pytest.mark.slow
def test_colours_are_the_only_controls_at_a_terminal(hostile):
    for output in (
        run_with(["report", hostile, "--color", "always"]).stdout,
        run_with(["tree", hostile, "00", "--color", "always"]).stdout,
    ):
        uncoloured = re.sub(r"\x1b\[[0-9;]*m", "", output)
        assert uncoloured != output
        assert not [char for char in uncoloured if not char.isprintable() and char != "\n"]
        assert r"\x1b[31m" in uncoloured


def test_an_error_repeats_no_control():
    done = run("report", "no\x1b(B\nsuch")
    assert done.returncode == 1
    assert done.stderr == "k8strace: no\\x1b(B\\nsuch: No such file or directory\n"


@pytest.mark.slow
@pytest.mark.parametrize("version", CAPTURES)
@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_wider_than_asked(version, width):
    lines = run("report", str(CAPTURES[version]), "--width", str(width)).stdout.splitlines()
    assert max(map(len, lines)) <= width
    assert max(map(len, lines)) > width * 0.9
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.slow
@pytest.mark.parametrize(("exported", "width"), [({}, 100), ({"COLUMNS": "80"}, 80), ({"COLUMNS": "x"}, 100)])
def test_a_pipe_gets_plain_text_of_100_columns_unless_told_otherwise(exported, width):
    sent = run("report", CAPTURE, **exported)
    assert "\x1b" not in sent.stdout
    assert max(map(len, sent.stdout.splitlines())) == width
    assert sent.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sort", "column"), [("errors", "4xx"), ("count", "count"), ("total", "total"), ("p99", "p99")]
)
@pytest.mark.parametrize("by", ["client", "verb,resource,namespace,client", "10s"])
def test_what_rows_are_sorted_by_is_left_out_last(sort, column, by):
    head = run("report", CAPTURE, "--sort", sort, "--by", by, "--slowest", "0", "--width", "70").stdout
    assert column in head.partition("Where the time went")[2].splitlines()[1].split()


@pytest.mark.slow
def test_a_terminal_gets_colours_and_its_own_width():
    sent = at_terminal("report", CAPTURE, columns=120)
    assert "\x1b[" in sent
    plain = re.sub(r"\x1b\[[0-9;]*m", "", sent)
    assert max(map(len, plain.splitlines())) == 120


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_without_colours_gets_none(environment):
    assert "\x1b[" not in at_terminal("report", CAPTURE, **environment)


@pytest.mark.slow
def test_never_and_always_are_obeyed():
    assert "\x1b[" not in at_terminal("report", CAPTURE, "--color", "never")
    assert "\x1b[" in run("report", CAPTURE, "--color", "always", NO_COLOR="1").stdout


@pytest.mark.slow
def test_without_unicode_the_same_in_ascii():
    text = run("report", CAPTURE, PYTHONIOENCODING="ascii").stdout
    assert text.isascii()
    assert "####" in text


def test_the_module_and_the_command_are_one():
    installed = Path(sys.executable).parent / "k8strace"
    if not installed.exists():
        pytest.skip("the command is not installed beside this Python")
    done = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").stdout


@pytest.mark.slow
def test_output_that_cannot_be_written_is_one_line():
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*K8STRACE, "report", CAPTURE], stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"k8strace: No space left on device\n")


# ── Documentation ─────────────────────────────────────────────────────────────────────────────────

PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text()


def test_the_reference_names_every_option():
    shown = "".join(run(*command, "--help").stdout for command in ([], ["report"], ["requests"], ["tree"]))
    assert not [option for option in set(re.findall(r"--[a-z-]+", shown)) if f"`{option}" not in PAGE]


def test_the_reference_names_every_key():
    (report,) = records(run("report", CAPTURE, "--json").stdout)
    request = records(run("requests", CAPTURE, "--json").stdout)[0]
    (finding, *_), (group, *_) = report["issues"], report["groups"]
    assert not [
        key for key in {**report, **request, **finding, **group} if f"`{key}`" not in PAGE and key != "count"
    ]


@pytest.mark.slow
def test_the_reference_shows_the_real_report():
    """What is printed in the documentation is what the command prints."""
    command, shown = re.search(r"\$ k8strace (report tests/.*)\n([\s\S]*?)```", PAGE).groups()
    assert run(*command.split()).stdout == shown
