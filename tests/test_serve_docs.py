"""What the pages on `serve` show is true: manifest and unit parse, the caller calls, the metrics are all there."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import etcd_exporting, serving

from k8strace import RequestStream
from k8strace.cli.commands import parser
from k8strace.receiver import Journal, Places, Receiver
from k8strace.receiver.metrics.exposition import Exposition, RequestMetrics
from k8strace.receiver.metrics.pushing import MetricsPush
from k8strace.receiver.metrics.tally import Observed

DOCS = Path(__file__).parent.parent / "docs"
HOWTO = DOCS / "howto"


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of a language, without their options."""
    found = re.findall(
        rf"^```(?:\{{code-block\}} )?{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE
    )
    return [re.sub(r"\A(:\w+:.*\n)+\n?", "", block) for block in found]


def arguments_are_known(words: list[str]) -> None:
    """The command line takes them."""
    asked = parser().parse_args(words)
    assert callable(asked.run)


# ── Kubernetes ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def manifest():
    (text,) = blocks(HOWTO / "kubernetes.md", "yaml")
    return list(yaml.safe_load_all(text))


def test_the_manifest_is_a_namespace_and_a_daemon_set(manifest):
    """With the keys that Kubernetes has for them, and labels that select its own pods."""
    namespace, daemons = manifest
    assert (namespace["apiVersion"], namespace["kind"]) == ("v1", "Namespace")
    assert (daemons["apiVersion"], daemons["kind"]) == ("apps/v1", "DaemonSet")
    assert daemons["metadata"]["namespace"] == namespace["metadata"]["name"]
    spec = daemons["spec"]
    assert set(spec) == {"selector", "template"}
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_the_manifest_starts_what_there_is_and_mounts_what_it_uses(manifest):
    """The arguments are those of `serve`; the store is the mounted folder; the probes ask where it listens."""
    pod = manifest[1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    arguments_are_known(container["args"])
    (mount,) = container["volumeMounts"]
    assert f"--store={mount['mountPath']}" in container["args"]
    assert {volume["name"] for volume in pod["volumes"]} == {mount["name"]}
    assert pod["hostNetwork"] is True
    for probe, path in (
        ("startupProbe", "/readyz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ):
        assert container[probe]["httpGet"] == {"host": "127.0.0.1", "port": 9464, "path": path}


def test_the_manifest_gives_away_nothing_it_need_not(manifest):
    """No token, no capabilities, no other user's files; a limit for memory above what the settings add up to."""
    pod = manifest[1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["memory"] == "2Gi"


# ── systemd ───────────────────────────────────────────────────────────────────────────────────────


def test_the_unit_is_one_and_starts_what_there_is():
    """Sections and keys as systemd writes them, and arguments that `serve` takes."""
    unit, socket_variant = blocks(HOWTO / "systemd.md", "ini")
    parser = configparser.ConfigParser(strict=True, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read_string(unit)
    assert parser.sections() == ["Unit", "Service", "Install"]
    service = parser["Service"]
    assert (service["Type"], service["Restart"]) == ("notify", "on-failure")
    started = [unit_line for unit_line in socket_variant.splitlines() if unit_line.startswith("ExecStart=/")]
    for command in (service["ExecStart"], *(line.removeprefix("ExecStart=") for line in started)):
        words = shlex.split(command)
        assert Path(words[0]).name == "k8strace"
        arguments_are_known(words[1:])
    assert f"/var/lib/{service['StateDirectory']}" in service["ExecStart"]


# ── The first page ────────────────────────────────────────────────────────────────────────────────


def test_every_command_on_the_pages_is_one():
    """What follows a prompt and begins with k8strace is taken by the command line."""
    shown = [
        line.removeprefix("$ ").partition("|")[0].partition(" > ")[0]
        for page in ("serve", "systemd", "kubernetes", "query", "production")
        for block in blocks(HOWTO / f"{page}.md", "console")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("$ k8strace")
    ]
    assert len(shown) >= 5
    for line in shown:
        arguments_are_known(shlex.split(line)[1:])


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_caller_of_the_first_page_calls_a_real_etcd(tmp_path):
    """Its requests come out complete, each with one etcd call."""
    (code,) = blocks(HOWTO / "serve.md", "python")
    with serving("--json") as process, etcd_exporting(tmp_path, process.address("grpc")) as etcd:
        for shown, real in (  # the addresses last: a port may have a 60 in it
            ("60", "0.5"),
            ("127.0.0.1:2379", etcd),
            ("127.0.0.1:4317", process.address("grpc")),
        ):
            assert shown in code
            code = code.replace(shown, real, 1)
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        deadline = time.monotonic() + 30
        while not process.lines and time.monotonic() < deadline:
            time.sleep(0.1)
        process.stop()
    requests = process.requests()
    assert len(requests) >= 5
    for record in requests.values():
        assert (record["verb"], record["resource"], record["complete"]) == ("list", "pods", True)
        assert len(record["etcd_calls"]) == 1


# ── Metrics ───────────────────────────────────────────────────────────────────────────────────────


def test_the_reference_has_all_metrics_with_their_labels(tmp_path):
    """And no others."""
    page = (DOCS / "reference" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(k8strace_\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    told = {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows}
    push = MetricsPush("http://127.0.0.1:9/v1/metrics")
    receiver = Receiver(RequestStream(), Places(), journal=Journal(tmp_path), push=push)
    receiver.stop(5)
    own = {
        reading.name + {"counter": "_total", "info": "_info"}.get(reading.kind, ""): (
            reading.kind,
            list(reading.labels),
        )
        for reading in receiver.exposition.readings
    }
    own["k8strace_build_info"] = ("info", ["version"])
    own["k8strace_mode_info"] = ("info", ["mode"])
    assert {name: kind for name, kind in told.items() if name in own} == own
    assert set(told) - set(own) == request_metrics(told)


def request_metrics(told):
    """Metrics of finished requests, from one of each, with the labels that the page tells."""
    metrics = RequestMetrics()
    row = Observed("7f" * 16, "get", "pods", None, 200, 5, {"etcd": 5}, True, "span_lost")
    metrics.add([row])
    _, text = Exposition(metrics, [], process=False).render("application/openmetrics-text")
    found = set()
    for family in text_string_to_metric_families(text.decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert told[name] == (family.type, told[name][1])
        assert set(told[name][1]) == labels
        found.add(name)
    return found
