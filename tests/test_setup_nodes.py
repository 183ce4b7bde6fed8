"""`setup render --kubelet` and `--runtime`: each version gets what it reads, and `check` finds nothing in it."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from k8strace import cli
from k8strace.cli.commands import parser
from k8strace.setup.check import check
from k8strace.setup.documents import load
from k8strace.setup.node_rules import environment
from k8strace.setup.nodes import node, render_node
from k8strace.setup.versions import SetupError

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "pods.md"


def text_of(name, **wanted):
    return render_node(node(**wanted))[f"node/{name}"].text


@pytest.mark.parametrize("minor", range(25, 38))
def test_a_kubelet_gets_its_gate_only_while_it_is_off_by_default(minor):
    """KEP-2831: alpha in 1.25, beta and on in 1.27, general in 1.34."""
    (document,) = load(text_of("kubelet.yaml", k8s=f"1.{minor}", rate=5000))
    content = document.content
    assert (content["apiVersion"], content["kind"]) == (
        "kubelet.config.k8s.io/v1beta1",
        "KubeletConfiguration",
    )
    assert content.get("featureGates") == ({"KubeletTracing": True} if minor < 27 else None)
    assert content["tracing"] == {"endpoint": "localhost:4317", "samplingRatePerMillion": 5000}


@pytest.mark.parametrize("version", ["1.6.0", "v1.7.27", "1.7"])
def test_containerd_before_2_has_plugins(version):
    wanted = {"runtime": "containerd", "runtime_version": version, "endpoint": "otel:4317"}
    plugins = tomllib.loads(text_of("containerd.toml", **wanted, rate=250_000))["plugins"]
    assert plugins == {
        "io.containerd.tracing.processor.v1.otlp": {
            "endpoint": "otel:4317",
            "protocol": "grpc",
            "insecure": True,
        },
        "io.containerd.internal.v1.tracing": {"sampling_ratio": 0.25, "service_name": "containerd"},
    }


@pytest.mark.parametrize("version", [None, "2.0", "2.4.2", "3.0"])
def test_containerd_from_2_on_has_its_environment(version):
    text = text_of("containerd.service.conf", runtime="containerd", runtime_version=version, rate=1)
    assert {name: value for name, value, _ in environment(text)} == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_SERVICE_NAME": "containerd",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.000001",
    }


def test_cri_o_has_its_table():
    assert tomllib.loads(text_of("crio.conf", runtime="crio"))["crio"]["tracing"] == {
        "enable_tracing": True,
        "tracing_endpoint": "localhost:4317",
        "tracing_sampling_rate_per_million": 1000,
    }


@pytest.mark.parametrize("runtime", [("containerd", "1.7"), ("containerd", "2.1"), ("crio", None)])
@pytest.mark.parametrize("k8s", ["1.25", "1.26", "1.27", "1.33", "1.34", "1.37"])
def test_check_finds_nothing_in_what_was_rendered(k8s, runtime):
    files = render_node(node(k8s=k8s, runtime=runtime[0], runtime_version=runtime[1]))
    report = check([(name, file.text) for name, file in files.items() if not name.endswith(".md")], k8s=k8s)
    assert report.findings == ()
    assert not any(each.what.startswith("not ") for each in report.recognised)


@pytest.mark.parametrize(
    ("k8s", "text", "severity", "advice"),
    [
        ("1.26", "tracing: {samplingRatePerMillion: 1}", "error", "add KubeletTracing: true"),
        (
            "1.30",
            "tracing: {samplingRatePerMillion: 1}\nfeatureGates: {KubeletTracing: false}",
            "error",
            "take",
        ),
        (
            "1.35",
            "tracing: {samplingRatePerMillion: 1}\nfeatureGates: {KubeletTracing: true}",
            "warning",
            "take",
        ),
    ],
)
def test_the_gate_of_each_version_is_checked(k8s, text, severity, advice):
    text = f"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{text}\n"
    (found,) = check([("kubelet.yaml", text)], k8s=k8s).findings
    assert (found.code, found.severity) == ("kubelet-gate", severity)
    assert found.advice.startswith(advice)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"k8s": "1.24"}, "the first that can is 1.25"),
        ({"runtime": "containerd", "runtime_version": "1.5.9"}, "the first that can is 1.6"),
        ({"runtime": "crio", "runtime_version": "new"}, "expected a version of crio"),
        ({"runtime_version": "2.0"}, "give --runtime too"),
        ({"k8s": "1.33", "rate": 0}, "give how many of a million"),
        ({"k8s": "1.33", "endpoint": "http://otel:4317"}, "give host:port"),
    ],
)
def test_what_cannot_be_rendered_says_what_to_give(wanted, says):
    with pytest.raises(SetupError, match=re.escape(says)):
        node(**wanted)


def test_the_command_writes_for_nodes_alone_and_beside_the_control_plane(tmp_path, capsys):
    alone, beside = tmp_path / "a", tmp_path / "b"
    assert cli.main(["setup", "render", "--runtime", "crio", "--out", str(alone)]) == 0
    assert {path.name for path in alone.rglob("*") if path.is_file()} == {"crio.conf", "README.md"}
    control = ["--k8s", "1.33", "--etcd", "3.5.24", "--target", "kubeadm"]
    assert cli.main(["setup", "render", *control, "--kubelet", "--out", str(beside)]) == 0
    assert (beside / "README.md").exists()
    assert (beside / "node" / "kubelet.yaml").exists()
    capsys.readouterr()
    for words, missing in ((["--kubelet"], "--k8s"), ([], "--k8s, --etcd, --target")):
        assert cli.main(["setup", "render", *words, "--out", str(tmp_path / "c")]) == 2
        assert f"required: {missing}" in capsys.readouterr().err


def test_the_page_shows_what_its_commands_write(tmp_path):
    page = PAGE.read_text("utf-8")
    commands = re.findall(r"^(k8strace setup render .*)$", page, re.MULTILINE)
    shown = re.findall(r"```(?:yaml|ini|toml)\n(.*?)```", page, re.DOTALL)
    assert len(commands) == 2
    for number, command in enumerate(commands):
        words = shlex.split(command)[1:]
        parser().parse_args(words)
        words[words.index("--out") + 1] = str(tmp_path / str(number))
        assert cli.main(words) == 0
    written = {path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()}
    assert len(shown) == 3
    assert set(shown) <= written
