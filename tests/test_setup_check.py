"""`setup check`: each trap is found where it is, and nothing in what `render` wrote."""
# ruff: noqa: E501 - the table of bad examples has one a line

import itertools
import json
import re
import sys
from pathlib import Path

import pytest

from k8strace.setup.check import check, check_paths
from k8strace.setup.findings import TRAPS
from k8strace.setup.render import Own, render
from k8strace.setup.settings import TARGETS, settings
from k8strace.setup.versions import KUBERNETES, SetupError

DATA = Path(__file__).parent / "data" / "setup"
sys.path.insert(0, str(DATA))

import make_golden  # noqa: E402

# A good example of every kind. Each bad one below is one of these with one thing changed.
TRACING = """\
apiVersion: apiserver.config.k8s.io/v1beta1
kind: TracingConfiguration
endpoint: localhost:4317
samplingRatePerMillion: 1000
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver}
spec:
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.30.4
    command:
    - kube-apiserver
    - --tracing-config-file=/etc/kubernetes/tracing/config.yaml
    - --secure-port=6443
    volumeMounts:
    - {name: tracing, mountPath: /etc/kubernetes/tracing, readOnly: true}
  volumes:
  - {name: tracing, hostPath: {path: /etc/kubernetes/tracing, type: DirectoryOrCreate}}
"""
GATED = POD.replace("v1.30.4", "v1.25.9").replace(
    "    - --sec", "    - --feature-gates=APIServerTracing=true\n    - --sec"
)
ETCD = """\
apiVersion: v1
kind: Pod
metadata: {name: etcd}
spec:
  containers:
  - name: etcd
    image: registry.k8s.io/etcd:3.5.15-0
    command:
    - etcd
    - --experimental-enable-distributed-tracing=true
    - --experimental-distributed-tracing-address=localhost:4317
    - --experimental-distributed-tracing-instance-id=cp-1
    - --experimental-distributed-tracing-sampling-rate=0
"""
ETCD_36 = ETCD.replace("experimental-", "").replace("3.5.15-0", "3.6.4-0")
CLUSTER_3 = """\
apiVersion: kubeadm.k8s.io/v1beta3
kind: ClusterConfiguration
kubernetesVersion: v1.30.4
apiServer:
  extraArgs:
    tracing-config-file: /etc/kubernetes/tracing/config.yaml
  extraVolumes:
  - {name: tracing, hostPath: /etc/kubernetes/tracing, mountPath: /etc/kubernetes/tracing}
etcd:
  local:
    imageTag: 3.5.15-0
    extraArgs:
      experimental-enable-distributed-tracing: "true"
      experimental-distributed-tracing-instance-id: cp-1
"""
CLUSTER_4 = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.31.4
apiServer:
  extraArgs:
  - {name: tracing-config-file, value: /etc/kubernetes/tracing/config.yaml}
  extraVolumes:
  - {name: tracing, hostPath: /etc/kubernetes/tracing, mountPath: /etc/kubernetes/tracing}
"""
KIND = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  image: kindest/node:v1.36.1
  extraMounts:
  - {hostPath: ./tracing, containerPath: /etc/kubernetes/tracing}
- role: worker
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  apiServer:
    extraArgs:
    - {name: tracing-config-file, value: /etc/kubernetes/tracing/config.yaml}
    extraVolumes:
    - {name: tracing, hostPath: /etc/kubernetes/tracing, mountPath: /etc/kubernetes/tracing}
  etcd:
    local:
      imageTag: 3.6.4-0
      extraArgs:
      - {name: enable-distributed-tracing, value: "true"}
      - {name: distributed-tracing-address, value: "172.18.0.1:4317"}
      - {name: distributed-tracing-instance-id, value: kind}
"""
K3S = """\
kube-apiserver-arg:
- tracing-config-file=/etc/rancher/k3s/tracing.yaml
etcd-arg:
- enable-distributed-tracing=true
- distributed-tracing-instance-id=s1
"""
MINIKUBE = """\
#!/bin/sh
minikube start --kubernetes-version=v1.30.4 \\
  --extra-config=apiserver.tracing-config-file=/etc/ssl/certs/tracing.yaml
"""
KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
featureGates:
  KubeletTracing: true
tracing:
  endpoint: localhost:4317
  samplingRatePerMillion: 1000
"""
CRIO = """\
[crio.tracing]
enable_tracing = true
tracing_endpoint = "127.0.0.1:4317"
tracing_sampling_rate_per_million = 1000
"""
PLUGIN = """\
version = 2
[plugins."io.containerd.tracing.processor.v1.otlp"]
  endpoint = "http://localhost:4318"
[plugins."io.containerd.internal.v1.tracing"]
  sampling_ratio = 0.01
"""
GRPC_PLUGIN = PLUGIN.replace("http://localhost:4318", "localhost:4317").replace(
    '[plugins."io.containerd.internal', '  protocol = "grpc"\n[plugins."io.containerd.internal'
)
UNIT = """\
[Service]
Environment=OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318
Environment="OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" OTEL_SERVICE_NAME=containerd
Environment=OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=0.01
"""
LOCKED = GATED.replace("v1.25.9", "v1.34.0")
GOOD = [
    TRACING,
    POD,
    GATED,
    LOCKED,
    ETCD,
    ETCD_36,
    CLUSTER_3,
    CLUSTER_4,
    KIND,
    K3S,
    MINIKUBE,
    KUBELET,
    CRIO,
    PLUGIN,
    GRPC_PLUGIN,
    UNIT,
]

# The static pod that a widely read article prints, in its own version: the flag, and neither volume nor mount.
ARTICLE = """\
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
  namespace: kube-system
spec:
  containers:
  - name: kube-apiserver
    image: registry.k8s.io/kube-apiserver:v1.28.0
    command:
    - kube-apiserver
    - --tracing-config-file=/etc/kubernetes/tracing-config.yaml
    - --feature-gates=APIServerTracing=true
"""

# code, severity, good text, what is replaced, by what, a piece of the line that the finding names, of the advice
BAD = [
    ("yaml", "error", TRACING, "endpoint:", "kind:", "kind: localhost", "repair"),
    ("yaml", "error", POD, "spec:", "spec: [", "- name: kube-apiserver", "repair"),
    ("kubernetes-version", "error", POD, "v1.30.4", "v1.21.9", "- name: kube-apiserver", "table"),
    ("kubernetes-version", "error", POD, "v1.30.4", "v1.99.0", "- name: kube-apiserver", "table"),
    ("etcd-version", "error", ETCD, "3.5.15-0", "3.4.13-0", "- name: etcd", "table"),
    ("gate-missing", "error", POD, "v1.30.4", "v1.26.9", "--tracing-config", "add --feature-gates=APIServerTracing=true"),
    ("gate-missing", "error", GATED, "APIServerTracing=true", "X=true", "--tracing-config", "X=true,APIServerTracing=true"),
    ("gate-off", "error", GATED, "Tracing=true", "Tracing=false", "--feature-gates", "write APIServerTracing=true"),
    ("gate-off", "error", POD, "- --sec", "- --feature-gates=APIServerTracing=false\n    - --sec", "--feature-g", "take"),
    ("gate-locked", "error", LOCKED, "Tracing=true", "Tracing=false", "--feature-gates", "out"),
    ("gate-removed", "error", GATED, "v1.25.9", "v1.37.0", "--feature-gates", "take --feature-gates out"),
    ("config-version", "error", TRACING, "v1beta1", "v1", "apiVersion", "apiserver.config.k8s.io/v1beta1"),
    ("config-version", "error", TRACING, "apiserver.config", "config", "apiVersion", "apiserver.config.k8s.io/v1beta1"),
    ("config-kind", "error", TRACING, "TracingConfiguration", "TracingConfig", "kind", "write kind: TracingConfiguration"),
    ("config-kind", "error", TRACING, "TracingConfiguration", "tracingConfiguration", "kind", "write kind: TracingConfiguration"),
    ("config-kind", "error", TRACING, "TracingConfiguration", "Config", "kind", "write kind: TracingConfiguration"),
    ("config-unknown-key", "error", TRACING, "endpoint", "endPoint", "endPoint", "write endpoint"),
    ("config-unknown-key", "error", TRACING, "kind:", "metadata: {}\nkind:", "metadata", "take it out"),
    ("config-missing", "error", GATED, "    - --tracing-config-file=/etc/kubernetes/tracing/config.yaml\n", "", "--feature", "add --tracing-config-file"),
    ("file-not-mounted", "error", POD, "tracing, mountPath", "x, mountPath", "--tracing-config", "hostPath volume"),
    ("file-not-mounted", "error", POD, "mountPath: /etc/kubernetes/tracing", "mountPath: /etc/other", "--tracing-c", "mount"),
    ("file-not-mounted", "error", POD, "/tracing/config.yaml", "/tracing2/config.yaml", "--tracing-config", "hostPath"),
    ("file-not-mounted", "error", CLUSTER_3, "mountPath: /etc", "mountPath: /opt", "tracing-config-file", "extraVolumes"),
    ("file-not-mounted", "error", KIND, "containerPath: /etc", "containerPath: /opt", "nodes", "extraMounts"),
    ("file-not-mounted", "error", MINIKUBE, "/etc/ssl/certs", "/etc/kubernetes", "minikube start", "volume"),
    ("endpoint", "error", TRACING, "localhost:4317", "http://localhost:4317", "endpoint", "write localhost:4317"),
    ("endpoint", "error", TRACING, "localhost:4317", "https://otel", "endpoint", "write otel:4317"),
    ("endpoint", "error", TRACING, "localhost:4317", "otel-collector", "endpoint", "write otel-collector:4317"),
    ("endpoint", "error", TRACING, "localhost:4317", "unix:otel.sock", "endpoint", "write"),
    ("endpoint", "error", TRACING, "localhost:4317", "unix-abstract:otel", "endpoint", "write"),
    ("endpoint", "error", TRACING, "localhost:4317", "dns:otel", "endpoint", "write"),
    ("endpoint", "error", ETCD, "localhost:4317", "unix:/run/otel.sock", "tracing-address", "write"),
    ("endpoint", "error", ETCD, "localhost:4317", "http://localhost:4317", "tracing-address", "write localhost:4317"),
    ("endpoint", "error", ETCD, "localhost:4317", "unix:///run/otel.sock", "tracing-address", "write"),
    ("endpoint-local", "warning", KIND, "172.18.0.1", "localhost", "tracing-address", "gateway"),
    ("rate-range", "error", TRACING, "1000", "1000001", "sampling", "samplingRatePerMillion: 1000"),
    ("rate-range", "error", TRACING, "1000", "1000.5", "sampling", "without quotes"),
    ("rate-range", "error", TRACING, "1000", ".inf", "sampling", "without quotes"),
    ("rate-range", "error", TRACING, "1000", '"1000"', "sampling", "without quotes"),
    ("rate-range", "error", ETCD, "rate=0", "rate=1%", "sampling-rate", "sampling-rate=0"),
    ("rate-all", "warning", TRACING, "1000", "1000000", "sampling", "test cluster"),
    ("rate-all", "warning", ETCD, "rate=0", "rate=1000000", "sampling-rate", "test cluster"),
    ("rate-none", "warning", TRACING, "samplingRatePerMillion: 1000\n", "", "apiVersion", "samplingRatePerMillion: 1000"),
    ("rate-none", "warning", TRACING, "1000", "0", "sampling", "samplingRatePerMillion: 1000"),
    ("kubeadm-form", "error", CLUSTER_3, "v1beta3", "v1beta4", "extraArgs", "list"),
    ("kubeadm-form", "error", CLUSTER_4, "v1beta4", "v1beta3", "extraArgs", "map"),
    ("kubeadm-form", "error", CLUSTER_3, "  extraArgs:\n    tra", "  extraEnvs: []\n  extraArgs:\n    tra", "extraEnvs", "patches"),
    ("kubeadm-form", "error", CLUSTER_3, '"true"', "true", "enable-distributed", '"true", in quotes'),
    ("kubeadm-form", "error", KIND, "v1.36.1", "v1.35.1", "extraArgs", "map"),
    ("kubeadm-version", "error", CLUSTER_4, "v1.31.4", "v1.30.4", "apiVersion", "v1beta3"),
    ("kind-list", "warning", KIND, "nodes:", "featureGates: {X: true}\nnodes:", "apiServer", "repeat"),
    ("etcd-flag", "error", ETCD, "3.5.15-0", "3.7.0-0", "enable-distributed", "write --enable-distributed-tracing"),
    ("etcd-flag", "error", ETCD_36, "3.6.4-0", "3.5.15-0", "enable-", "write --experimental-enable-distributed-tracing"),
    ("etcd-flag", "error", ETCD, "3.5.15-0", "3.5.9-0", "sampling-rate", "3.5.11 or newer"),
    ("etcd-flag-old", "warning", ETCD, "3.5.15-0", "3.6.4-0", "enable-distributed", "write --enable-distributed-tracing"),
    ("etcd-off", "error", ETCD, "tracing=true", "tracing=false", "enable-distributed", "tracing=true"),
    ("etcd-off", "error", ETCD, "    - --experimental-enable-distributed-tracing=true\n", "", "tracing-address", "add --experimental-enable"),
    ("etcd-instance-id", "warning", ETCD, "    - --experimental-distributed-tracing-instance-id=cp-1\n", "", "enable", "NAME"),
    ("etcd-instance-id", "warning", K3S, "- distributed-tracing-instance-id=s1\n", "", "enable", "NAME"),
    ("etcd-children-only", "warning", ETCD.replace("    - --experimental-distributed-tracing-sampling-rate=0\n", ""), "3.5.15-0", "3.5.9-0", "enable-", "samplingRatePerMillion"),
    ("kubelet-gate", "error", KUBELET, "KubeletTracing: true", "KubeletTracing: false", "KubeletTracing", "KubeletTracing: true"),
    ("kubelet-off", "error", KUBELET, "tracing:\n  endpoint: localhost:4317\n  samplingRatePerMillion: 1000\n", "", "KubeletTracing", "add tracing"),
    ("endpoint", "error", KUBELET, "localhost:4317", "http://localhost:4317", "endpoint", "localhost:4317"),
    ("rate-all", "warning", KUBELET, "1000", "1000000", "samplingRate", "1000"),
    ("rate-none", "warning", KUBELET, "  samplingRatePerMillion: 1000\n", "", "tracing:", "1000"),
    ("config-unknown-key", "warning", KUBELET, "samplingRate", "samplingrate", "samplingrate", "take it out"),
    ("runtime-off", "error", CRIO, "enable_tracing = true\n", "", "[crio.tracing]", "enable_tracing = true"),
    ("runtime-off", "error", CRIO, "enable_tracing = true", "enable_tracing = false", "enable_tracing", "enable_tracing = true"),
    ("rate-none", "warning", CRIO, "tracing_sampling_rate_per_million = 1000\n", "", "[crio.tracing]", "per_million = 1000"),
    ("endpoint", "error", CRIO, "127.0.0.1:4317", "http://127.0.0.1:4317", "endpoint", "127.0.0.1:4317"),
    ("toml", "error", CRIO, "= true", "= yes", "enable_tracing", "repair"),
    ("runtime-plugin", "warning", PLUGIN, "version = 2", "version = 3", "version", "environment"),
    ("runtime-off", "error", PLUGIN, '  endpoint = "http://localhost:4318"\n', "", "otlp", "endpoint"),
    ("runtime-protocol", "error", PLUGIN, "http://localhost", "localhost", "endpoint", "http://localhost:4318"),
    ("runtime-protocol", "warning", PLUGIN, "4318", "4317", "endpoint", "4318"),
    ("endpoint", "error", GRPC_PLUGIN, "localhost:4317", "http://localhost:4317", "endpoint", "localhost:4317"),
    ("rate-range", "error", PLUGIN, "0.01", "10.0", "sampling_ratio", "0.001"),
    ("runtime-protocol", "error", UNIT, "http://localhost", "localhost", "ENDPOINT", "http://localhost:4318"),
    ("runtime-protocol", "error", UNIT, "http/protobuf", "http/json", "ENDPOINT", "grpc"),
    ("runtime-protocol", "warning", UNIT, "http/protobuf", "grpc", "ENDPOINT", "4317"),
    ("runtime-off", "error", UNIT, "OTEL_SERVICE_NAME=containerd", "OTEL_SDK_DISABLED=true", "DISABLED", "take it out"),
    ("rate-all", "warning", UNIT, "OTEL_TRACES_SAMPLER=parentbased_traceidratio ", "", "ENDPOINT", "SAMPLER"),
    ("rate-range", "error", UNIT, "0.01", "10%", "ARG", "0.001"),
]  # fmt: skip


def line_with(text, piece):
    return 1 + next(at for at, line in enumerate(text.splitlines()) if piece in line)


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
def test_nothing_is_found_in_good_examples(text):
    assert check([("good.yaml", text)]).findings == ()


@pytest.mark.parametrize(("code", "severity", "good", "old", "new", "piece", "advice"), BAD, ids=[f"{n}-{bad[0]}" for n, bad in enumerate(BAD)])  # fmt: skip
def test_each_trap_is_found_where_it_is(code, severity, good, old, new, piece, advice):
    """One thing changed in a good example: that trap, on that line, with what to write instead."""
    bad = good.replace(old, new)
    assert bad != good
    k8s = "1.33" if good is TRACING else None
    findings = [each for each in check([("bad.yaml", bad)], k8s=k8s).findings if each.code == code]
    assert findings, [each.code for each in check([("bad.yaml", bad)], k8s=k8s).findings]
    first = findings[0]
    assert (first.file, first.severity) == ("bad.yaml", severity)
    assert advice in first.advice
    assert first.line == line_with(bad, piece)


@pytest.mark.parametrize("k8s", ["1.33", "1.37", None])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("localhost:4317", "unix:/run/otel.sock"),
        ("localhost:4317", "unix:///run/otel.sock"),
        ("localhost:4317", "unix-abstract:/otel"),
        ("localhost:4317", "dns:///otel:4317"),
        ("localhost:4317", "dns:otel:4317"),
        ("localhost:4317", "unix:4317"),  # a host of that name
        ("1000", "1000.0"),
        ("1000", "1.0e3"),
        ("apiVersion: apiserver.config.k8s.io/v1beta1\n", ""),
        ("kind: TracingConfiguration\n", ""),
    ],
)
def test_what_kube_apiserver_accepts_is_accepted(old, new, k8s):
    """It started with the first, with 1000.0 and without apiVersion; the others are the same to its parser."""
    report = check([("t.yaml", TRACING.replace(old, new))], k8s=k8s)
    assert report.findings == ()
    assert report.recognised[0].what == "TracingConfiguration"


def test_every_code_has_a_bad_example():
    assert {code for code, *_ in BAD} == set(TRAPS)


def test_one_mistake_gives_one_finding():
    """A bad example has no other findings than its trap's, but for the few where one mistake is two."""
    also = {
        "gate-missing": set(),
        "config-unknown-key": {"rate-none"},
        "etcd-flag": {"etcd-off", "etcd-instance-id"},
    }
    for code, _, good, old, new, *_ in BAD:
        k8s = "1.33" if good is TRACING else None
        found = {each.code for each in check([("bad.yaml", good.replace(old, new))], k8s=k8s).findings}
        assert found - also.get(code, set()) <= {code, "etcd-children-only", "kubeadm-version"}, (code, old)


def test_the_articles_static_pod_is_caught():
    (finding,) = check([("kube-apiserver.yaml", ARTICLE)]).findings
    assert (finding.code, finding.line) == ("file-not-mounted", 12)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_what_render_wrote(target):
    """Every cell of the matrix, with one member and with three, with and without environment."""
    for k8s, etcd in itertools.product(make_golden.KUBERNETES, make_golden.ETCD):
        wishes = [{}]
        if target != "minikube" and (target, k8s) != ("kind", "1.22"):
            wishes.append({"members": ["a", "b", "c"], "compression": "gzip", "token": "t"})
        for wish in wishes:
            files = render(settings(k8s=k8s, etcd=etcd, target=target, **wish))
            texts = [(path, file.text) for path, file in files.items() if not path.endswith((".md", ".env"))]
            assert check(texts, k8s=k8s, etcd=etcd).findings == (), (k8s, etcd, wish)
            assert k8s != "1.33" or check(texts).errors == 0


def test_nothing_is_found_in_the_users_files_after_render():
    own = tuple(Own(name, (DATA / "own" / name).read_text()) for name in ("kube-apiserver.yaml", "etcd.yaml"))
    assert {each.code for each in check([(o.name, o.text) for o in own]).findings} == {
        "gate-off",
        "file-not-mounted",
        "etcd-flag-old",
        "etcd-instance-id",
    }
    files = render(settings(k8s="1.25", etcd="3.6.4", target="static-pod"), own)
    texts = [(path, file.text) for path, file in files.items() if path != "README.md"]
    assert check(texts).findings == ()


def test_before_strict_decoding_an_unknown_key_is_a_warning():
    """1.31 ignores it, 1.32 does not start."""
    text = TRACING.replace("endpoint", "endPoint")
    severity = {k: check([("t", text)], k8s=k).findings[0].severity for k in ("1.31", "1.32")}
    assert severity == {"1.31": "warning", "1.32": "error"}


@pytest.mark.parametrize("row", KUBERNETES, ids=lambda row: row.name)
def test_each_release_reads_the_configurations_of_the_table(row):
    """Three versions of TracingConfiguration against each release: those of the facts are accepted."""
    accepted = (
        {"v1alpha1"} | ({"v1beta1"} if row.minor >= 27 else set()) | ({"v1"} if row.minor >= 34 else set())
    )
    for version in ("v1alpha1", "v1beta1", "v1"):
        found = check([("t", TRACING.replace("v1beta1", version))], k8s=row.name).findings
        assert [each.code for each in found] == ([] if version in accepted else ["config-version"])


def test_localhost_inside_a_node_is_found():
    """Beside a kind configuration or a minikube script the default endpoint leads nowhere."""
    for text, name in ((KIND, "kind.yaml"), (MINIKUBE, "start.sh")):
        for tracing in (TRACING, TRACING.replace("endpoint: localhost:4317\n", "")):
            found = check([(name, text), ("t.yaml", tracing)]).findings
            assert [each.code for each in found if each.file == "t.yaml"] == ["endpoint-local"]


def test_two_members_with_one_id_are_found():
    report = check([("a.yaml", ETCD), ("b.yaml", ETCD)])
    assert [(each.file, each.code) for each in report.findings] == [
        ("a.yaml", "etcd-instance-id"),
        ("b.yaml", "etcd-instance-id"),
    ]


def test_a_version_that_is_in_no_file_is_asked_for():
    report = check([("x", K3S)])
    assert [note.partition(" is not")[0] for note in report.notes] == [
        "the version of Kubernetes",
        "the version of etcd",
    ]


def test_files_of_other_kinds_are_named():
    """What is not checked is said, and why."""
    texts = {
        "kubelet.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
        "service.yaml": "apiVersion: v1\nkind: Service\n",
        "capi.yaml": "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\n",
        "empty.yaml": "# nothing\n",
        "words.yaml": "hello\n",
        "web.yaml": "kind: Pod\nspec: {containers: [{name: web}]}\n",
    }
    report = check(list(texts.items()))
    assert report.findings == ()
    assert [each.file for each in report.recognised] == list(texts)
    assert all(each.what.startswith("not ") for each in report.recognised)


def test_several_documents_in_one_file_have_their_lines():
    report = check([("all.yaml", f"---\n{POD}---\n{TRACING.replace('localhost:4317', 'http://x:1')}")])
    assert [(each.code, each.line) for each in report.findings] == [("endpoint", 20)]


WORDS = [
    "kind",
    "spec",
    "containers",
    "command",
    "extraArgs",
    "nodes",
    "apiServer",
    "image",
    "volumes",
    "etcd",
    "local",
]


@pytest.mark.parametrize(
    "value", ["null", "3", "[]", "{}", "[null]", "[3, [4]]", "{a: null}", '"x"', "[{name: null}]"]
)
def test_odd_values_are_survived(value):
    """Any key of any good example with any odd value: findings or none, but no crash."""
    for good, word in itertools.product(GOOD, WORDS):
        lines = good.splitlines()
        for at, line in enumerate(lines):
            if re.match(rf"[ -]*{word}:", line):
                indent = len(line) - len(line.lstrip(" -"))
                rest = itertools.dropwhile(
                    lambda each, i=indent: len(each) - len(each.lstrip()) > i or each[i : i + 1] == "-",
                    lines[at + 1 :],
                )
                text = "\n".join([*lines[:at], f"{line.partition(':')[0]}: {value}", *rest])
                check([("odd.yaml", text)])


def test_files_and_folders_are_read(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yaml").write_text(TRACING)
    (tmp_path / "b.yml").write_text(POD)
    (tmp_path / "README.md").write_text("no")
    assert [Path(each.file).name for each in check_paths([tmp_path]).recognised] == ["b.yml", "a.yaml"]
    for path, words in ((tmp_path / "none.yaml", "No such file"), (tmp_path / "deep", "")):
        if words:
            with pytest.raises(SetupError, match=words):
                check_paths([path])
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SetupError, match="not UTF-8"):
        check_paths([tmp_path / "binary.yaml"])


def test_findings_are_json(capsys, tmp_path):
    """`--json` has what the text has; the exit code is 1 with an error, and with a warning under --strict."""
    from k8strace import cli

    (tmp_path / "t.yaml").write_text(TRACING.replace("1000", "1000000"))
    assert cli.main(["setup", "check", str(tmp_path / "t.yaml"), "--json", "--k8s", "1.33"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["findings"][0] == {
        "file": str(tmp_path / "t.yaml"),
        "line": 4,
        "severity": "warning",
        "code": "rate-all",
        "problem": "every request is sampled, which is too much for production",
        "advice": "write samplingRatePerMillion: 1000, or keep it in a test cluster",
    }
    assert cli.main(["setup", "check", str(tmp_path / "t.yaml"), "--strict"]) == 1
    (tmp_path / "t.yaml").write_text(TRACING.replace("localhost", "http://localhost"))
    assert cli.main(["setup", "check", str(tmp_path / "t.yaml")]) == 1
    assert cli.main(["setup", "check", str(tmp_path / "none.yaml")]) == 2
    assert cli.main(["setup", "check", str(tmp_path / "t.yaml"), "--k8s", "1.99"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("k8strace: Kubernetes 1.99 is newer")
