"""What is shipped for operators: every file is judged by the tool that it is for, where that tool is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import EXPORT, batches_of, serving

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
DASHBOARD = DEPLOY / "grafana" / "k8strace.json"
HOMEPAGE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def ran(folder: Path, *command: str) -> str:
    """What a released tool says of files of ours. Without the tool the test is skipped."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ── Prometheus and Grafana ────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def exposed(tmp_path_factory) -> dict[str, set[str]]:
    """Sample names that a real `serve` has once a recording came, with their labels."""
    import grpc

    (batch, *_) = batches_of(ROOT / "tests/data/k8s-1.36_etcd-3.6.otlp.zst")
    with serving("--store", str(tmp_path_factory.mktemp("store"))) as process:
        with grpc.insecure_channel(process.address("grpc")) as channel:
            channel.unary_unary(EXPORT)(batch, timeout=10, wait_for_ready=True)
        families = list(text_string_to_metric_families(process.get("/metrics")[1]))
    endings = {
        "counter": ["_total"],
        "histogram": ["_bucket", "_sum", "_count"],
        "info": ["_info"],
        "gauge": [""],
    }
    return {
        family.name + ending: {label for sample in family.samples for label in sample.labels}
        for family in families
        for ending in endings.get(family.type, [""])
    }


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    yield from (variable["query"] for variable in variables if variable["type"] == "query")


def test_rules_and_dashboard_ask_for_metrics_that_serve_has(exposed):
    """In a process of its own, with a store."""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for expression in expressions():
        names = set(re.findall(r"(?:\w+:)?(?:k8strace|process)_\w+(?::\w+)?", expression))
        assert names, expression
        assert names <= exposed.keys() | recorded, names - exposed.keys() - recorded


def test_rules_group_by_labels_of_the_reference():
    """The labels that metrics have, those of every target, and `le`."""
    page = (ROOT / "docs/reference/metrics.md").read_text()
    told = {
        label for row in re.findall(r"^\|.*\|$", page, re.MULTILINE) for label in re.findall(r"`(\w+)`", row)
    }
    for expression in expressions():
        grouped = {
            label.strip() for labels in re.findall(r"by \((.*?)\)", expression) for label in labels.split(",")
        }
        assert grouped <= told | {"job", "instance", "le"}, expression


def test_every_alert_has_a_section_that_says_what_to_do():
    """Its link leads to a heading of the how-to, which has no others; a severity and a summary are there."""
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/howto/alerts.md").read_text(), re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts()]
    for alert in alerts():
        link = f"{HOMEPAGE}/blob/main/docs/howto/alerts.md#{alert['alert'].lower()}"
        assert alert["annotations"]["runbook_url"] == link
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["labels"]["severity"] in ("warning", "critical")


def test_every_alert_is_tried():
    """Each name stands in the tests that promtool runs."""
    tried = (RULES.parent / "rules_test.yaml").read_text()
    assert [alert["alert"] for alert in alerts() if alert["alert"] not in tried] == []


def test_promtool_takes_the_rules():
    ran(RULES.parent, "promtool", "check", "rules", RULES.name)


def test_promtool_finds_that_alerts_fire_when_they_should():
    ran(RULES.parent, "promtool", "test", "rules", "rules_test.yaml")


def test_the_dashboard_is_what_grafanas_linter_wants():
    """`dashboard-linter`, strict."""
    ran(DASHBOARD.parent, "dashboard-linter", "lint", "--strict", DASHBOARD.name)


def test_panels_do_not_overlap_and_have_units_and_words():
    """On Grafana's grid of 24 columns; ids are unique; every query asks the chosen source and targets."""
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            selectors = re.findall(r"\{(.*?)\}", target["expr"])
            assert selectors
            assert all('job=~"$job", instance=~"$instance"' in selector for selector in selectors)
