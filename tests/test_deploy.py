"""What is shipped for operators: every file is judged by the tool that it is for, where that tool is there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from go_programs import built, recipe
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from serving import EXPORT, batches_of, serving

from k8strace.cli.commands import parser

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


# ── Container ─────────────────────────────────────────────────────────────────────────────────────


def instructions(stage: int) -> list[tuple[str, str]]:
    """(instruction, rest) of one stage of the container file; continued lines are one."""
    text = (DEPLOY / "container" / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    begins = [number for number, line in enumerate(lines) if line.startswith("FROM ")]
    chosen = lines[begins[stage] : [*begins, len(lines)][stage + 1]]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in chosen]


@pytest.mark.slow
def test_buildkit_reads_the_container_file():
    """With the parser that `docker build` has; a warning of it fails, too."""
    reader = linter(".", "containerfile")
    ran(DEPLOY / "container", str(reader), "Containerfile")


@pytest.mark.slow
def test_the_release_workflow_is_one():
    """`actionlint`: keys, expressions, and the names of jobs and outputs that others ask for."""
    ran(ROOT, str(linter("github.com/rhysd/actionlint/cmd/actionlint", "actionlint")))


def linter(package: str, name: str) -> Path:
    """The program, built at most once: it stays in `build/`."""
    source = ROOT / "tests" / "linters"
    folder = ROOT / "build" / "linters"
    folder.mkdir(parents=True, exist_ok=True)
    return built(
        source,
        package,
        folder / f"{name}-{recipe(sorted(source.iterdir()))}",
        fetched_by=[(["mod", "download"], 120)],
        reason="linters cannot be fetched",
        build=120,
    )


def test_the_image_runs_serve_as_nobody_in_particular():
    """The last stage: a slim image, a numeric user that is not root, and a command that `serve` takes."""
    last = dict(instructions(1))
    assert last["FROM"].endswith("-slim")
    user, _, group = last["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert json.loads(last["ENTRYPOINT"]) == ["k8strace"]
    arguments = json.loads(last["CMD"])
    parser().parse_args(arguments)
    assert f"--store={last['VOLUME']}" in arguments
    assert last["EXPOSE"].split() == ["4317", "4318", "9464"]


def test_the_image_installs_the_wheel_with_extras_that_there_are():
    """Binaries only: there is no compiler in it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (install,) = [rest for kind, rest in instructions(0) if kind == "RUN" and "pip install" in rest]
    (asked,) = re.findall(r"'k8strace\[(.*?)\]'", install)
    assert set(asked.split(",")) <= set(extras)
    assert "--only-binary :all:" in install


# ── Helm ──────────────────────────────────────────────────────────────────────────────────────────

CHART = DEPLOY / "helm" / "k8strace"
SAFE = ("--set", "tls.secretName=otlp", "--set", "tls.clientCA=true")
CLUSTER = ("--kube-version", "1.31.0")  # a helm that go built has 1.20 in mind
ALL = ("--set", "serviceMonitor.enabled=true", "--set", "tokens.secretName=tokens")


def rendered(*settings: str) -> dict[str, dict[str, Any]]:
    """Kind → what the released helm makes of the chart."""
    text = ran(
        CHART.parent, "helm", "template", "here", CHART.name, "--namespace", "traces", *CLUSTER, *settings
    )
    documents = [document for document in yaml.safe_load_all(text) if document]
    return {document["kind"]: document for document in documents}


def described() -> dict[str, Any]:
    """The container of the how-to's manifest."""
    page = (ROOT / "docs/howto/kubernetes.md").read_text()
    (block,) = re.findall(
        r"^```\{code-block\} yaml\n:caption:.*?\n\n(.*?)^```", page, re.DOTALL | re.MULTILINE
    )
    _, daemons = yaml.safe_load_all(block)
    return daemons["spec"]["template"]["spec"]


def test_the_schema_takes_the_values_and_nothing_unknown():
    """Every value of the file is in the schema, and a word or number that is none is refused."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    check = jsonschema.Draft7Validator(schema)
    check.validate(values)
    wrong = (
        {"tsl": {}},
        {"store": {"size": "10GB", "retainBytes": "8GiB"}},
        {"window": "long"},
        {"networkPolicy": {"senders": []}},
    )
    for each in wrong:
        assert not check.is_valid(values | each), each


def test_versions_are_those_of_the_package():
    """Chart, image and package go out together."""
    version = tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["package"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert chart["home"] == HOMEPAGE
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert described()["containers"][0]["image"] == f"{values['image']['repository']}:{version}"


@pytest.mark.parametrize("settings", [SAFE, (*SAFE, *ALL), ("--set", "insecureNetwork=true")])
def test_helm_lints_the_chart(settings):
    ran(CHART.parent, "helm", "lint", "--strict", CHART.name, *settings)


@pytest.mark.parametrize("settings", [SAFE, (*SAFE, *ALL), ("--set", "insecureNetwork=true")])
def test_the_chart_starts_what_there_is(settings):
    """The arguments are those of `serve`, and every file among them is below a mounted volume."""
    documents = rendered(*settings)
    pod = documents["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    parser().parse_args(container["args"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    claims = [claim["metadata"]["name"] for claim in documents["StatefulSet"]["spec"]["volumeClaimTemplates"]]
    assert set(mounts) == {*claims, *(volume["name"] for volume in pod.get("volumes", []))}
    paths = [value for _, _, value in (each.partition("=") for each in container["args"]) if value[:1] == "/"]
    assert all(any(path.startswith(mount) for mount in mounts.values()) for path in paths)
    assert documents["StatefulSet"]["spec"]["replicas"] == 1
    assert ("ServiceMonitor" in documents) is (ALL[0] in settings and ALL[1] in settings)


def test_the_parts_of_the_chart_meet():
    """Selectors select the pod, ports have the names that service, policy and monitor ask for."""
    documents = rendered(*SAFE, *ALL)
    template = documents["StatefulSet"]["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    selectors = [
        documents["StatefulSet"]["spec"]["selector"]["matchLabels"],
        documents["Service"]["spec"]["selector"],
        documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    monitor = documents["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= documents["Service"]["metadata"]["labels"].items()
    named = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    service = {port["targetPort"] for port in documents["Service"]["spec"]["ports"]}
    rules = documents["NetworkPolicy"]["spec"]["ingress"]
    allowed = [port["port"] for rule in rules for port in rule["ports"]]
    assert named == service == set(allowed)
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= named
    assert {document["metadata"]["namespace"] for document in documents.values()} == {"traces"}


def test_the_chart_agrees_with_the_how_to():
    """The same container: what it may do, what it gets, how it is asked; the same first arguments."""
    told = described()
    pod = rendered(*SAFE)["StatefulSet"]["spec"]["template"]["spec"]
    ours, theirs = pod["containers"][0], told["containers"][0]
    assert ours["args"][: len(theirs["args"])] == theirs["args"]
    assert ours["image"] == theirs["image"]
    assert ours["resources"] == theirs["resources"]
    assert {**ours["securityContext"], "runAsUser": 0} == theirs["securityContext"]
    plain = rendered("--set", "insecureNetwork=true")["StatefulSet"]["spec"]["template"]["spec"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked, known = dict(plain["containers"][0][probe]), dict(theirs[probe])
        assert asked.pop("httpGet")["path"] == known["httpGet"]["path"]
        assert json.dumps(ours[probe]).count(known.pop("httpGet")["path"]) == 1
        assert asked == known
    for key in ("automountServiceAccountToken", "terminationGracePeriodSeconds"):
        assert pod[key] == told[key]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == told["securityContext"]["seccompProfile"]


@pytest.mark.slow
def test_a_probe_passes_where_senders_must_show_certificates(tmp_path):
    """A real `serve` with the chart's arguments and certificates, asked by the command of its probe."""
    import trustme

    pod = rendered(*SAFE)["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    authority, store = trustme.CA(), tmp_path / "store"
    identity = authority.issue_cert("127.0.0.1")
    identity.private_key_pem.write_to_path(tmp_path / "tls.key")
    identity.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    own = [
        re.sub(r":(4317|4318|946\d)$", ":0", each)
        .replace("/etc/k8strace/tls", str(tmp_path))
        .replace("/var/lib/k8strace", str(store))
        for each in container["args"][1:]
    ]
    with serving(*own, listen=()) as process:
        process.find("listening")
        for name, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
            _, *command = container[name]["exec"]["command"]
            command[-1] = command[-1].replace("127.0.0.1:9465", process.address("metrics", 1))
            assert path in command[-1]
            subprocess.run([sys.executable, *command], check=True, timeout=20)


def test_spans_do_not_travel_in_the_open_by_default():
    """Neither TLS nor the value that says so: nothing is rendered, and the words say what to set."""
    if shutil.which("helm") is None:
        pytest.skip("helm is not installed")
    done = subprocess.run(
        ["helm", "template", "here", str(CHART), *CLUSTER],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "tls.secretName" in done.stderr
    assert "insecureNetwork" in done.stderr


def test_the_how_to_sets_values_that_there_are():
    """Those of `--set` on the page."""
    page = (ROOT / "docs/howto/kubernetes.md").read_text().replace("\\\n", " ")
    words = shlex.split(next(line for line in page.splitlines() if line.startswith("$ helm install"))[2:])
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    settings = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    assert len(settings) == 3
    for setting in settings:
        first, _, second = setting.partition("=")[0].partition(".")
        assert second in values[first]
