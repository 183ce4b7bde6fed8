"""`setup render`: files that carry every needed part, for every version and target."""

import itertools
import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from k8strace.setup.folder import write
from k8strace.setup.render import Own, render
from k8strace.setup.settings import TARGETS, settings
from k8strace.setup.versions import ETCD, KUBERNETES, SetupError, etcd, kubernetes

DATA = Path(__file__).parent / "data" / "setup"
sys.path.insert(0, str(DATA))

import make_golden  # noqa: E402

SCHEMAS = json.loads((DATA / "schemas.json").read_text())
CELLS = list(itertools.product(make_golden.KUBERNETES, make_golden.ETCD))

# The facts, written down here a second time, apart from the table that `render` reads. Kubernetes: feature gate,
# TracingConfiguration, kubeadm's form, kind's form. Read in kubernetes/apiserver on the release branches
# (pkg/features/kube_features.go, pkg/apis/apiserver/install), in kubeadm's API types, in kind's config.go.
FACTS = {
    **{f"1.{minor}": (True, "v1alpha1", "v1beta3", "v1beta3") for minor in range(22, 27)},
    **{f"1.{minor}": (False, "v1beta1", "v1beta3", "v1beta3") for minor in range(27, 31)},
    **{f"1.{minor}": (False, "v1beta1", "v1beta4", "v1beta3") for minor in range(31, 34)},
    **{f"1.{minor}": (False, "v1", "v1beta4", "v1beta3") for minor in range(34, 36)},
    **{f"1.{minor}": (False, "v1", "v1beta4", "v1beta4") for minor in range(36, 38)},
}
# etcd: the prefix of its flags. Read in etcd's help.go at each tag.
PREFIX = {"3.5.0": "experimental-", "3.5.5": "experimental-", "3.5.11": "experimental-", "3.6": "", "3.7": ""}


def files_of(target, k8s="1.33", etcd="3.5.24", own=(), **more):
    return render(settings(k8s=k8s, etcd=etcd, target=target, **more), own)


def parse(text):
    """Strict YAML: repeated keys are an error, and nothing but plain values comes out."""
    return list(YAML(typ="safe", pure=True).load_all(text))


def validate(content, schema):
    checker = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{schema}", "$defs": SCHEMAS["$defs"]})
    checker.validate(content)


def schema_of(path, content):
    """The schema that a rendered file must fit."""
    if path.endswith("+json.yaml"):
        return "JsonPatch"
    if path.endswith("+strategic.yaml"):
        return "PodPatch"
    if path.endswith("90-tracing.yaml"):
        return "K3s"
    if content["kind"] == "ClusterConfiguration":
        return "ClusterConfiguration" + content["apiVersion"].rpartition("/")[2].capitalize()
    return {"Cluster": "KindCluster"}.get(content["kind"], content["kind"])


def arguments(files, kind_form=None):
    """What kube-apiserver and etcd are started with, read by hand from every form there is."""
    apiserver, etcd = {}, {}
    for path, file in files.items():
        if path.endswith("start.sh"):
            for word in shlex.split(file.text.replace("\\\n", "")):
                name, _, value = word.removeprefix("--extra-config=").partition("=")
                if word.startswith("--extra-config="):
                    (etcd if name.startswith("etcd.") else apiserver)[name.partition(".")[2]] = value
                if word.startswith("--feature-gates="):
                    apiserver["feature-gates"] = value
        if not path.endswith(".yaml"):
            continue
        (content,) = parse(file.text)
        if path.endswith("+json.yaml"):
            pairs = [step["value"].removeprefix("--").partition("=")[::2] for step in content]
            (etcd if "etcd" in path else apiserver).update(pairs)
        elif path.endswith("90-tracing.yaml"):
            apiserver.update(word.partition("=")[::2] for word in content["kube-apiserver-arg+"])
            etcd.update(word.partition("=")[::2] for word in content["etcd-arg+"])
        elif content and content.get("kind") == "Cluster":
            (cluster,) = parse(content["kubeadmConfigPatches"][0])
            validate(cluster, "ClusterConfiguration" + kind_form.capitalize())
            kubeadm_arguments(cluster, apiserver, etcd)
        elif content.get("kind") == "ClusterConfiguration":
            kubeadm_arguments(content, apiserver, etcd)
    return apiserver, etcd


def kubeadm_arguments(cluster, apiserver, etcd):
    for into, holder in ((apiserver, cluster["apiServer"]), (etcd, cluster["etcd"]["local"])):
        extra = holder["extraArgs"]
        into.update(extra if isinstance(extra, dict) else {item["name"]: item["value"] for item in extra})


@pytest.mark.parametrize("target", TARGETS)
def test_every_cell_is_as_the_golden_text_says(target):
    """16 releases of Kubernetes times 5 of etcd: each piece of each file is where the golden text has it."""
    golden = (DATA / "golden" / f"{target}.txt").read_text("utf-8")
    expected = {cell: set() for cell in CELLS}
    for block in re.split(r"^#### ", golden, flags=re.MULTILINE)[1:]:
        head, _, text = block.partition("\n")
        path, _, where = head.partition(" | ")
        for group in where.split("; "):
            releases, _, members = group.partition(" x ")
            for cell in itertools.product(releases.split(), members.split()):
                expected[cell].add((path, text.rstrip("\n")))
    for cell in CELLS:
        assert set(make_golden.pieces(target, cell)) == expected[cell], cell


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_every_cell_keeps_to_the_facts(target):
    """Gate, version, form and flag names of each cell, against the facts above; each file strict."""
    for k8s, member in CELLS:
        gate, config, kubeadm, kind = FACTS[k8s]
        files = files_of(target, k8s, member)
        for path, file in files.items():
            if path.endswith(".yaml"):
                (content,) = parse(file.text)
                validate(content, schema_of(path, content))
        (tracing,) = [
            parse(f.text)[0]
            for p, f in files.items()
            if "kind: TracingConfiguration" in f.text and p.endswith(".yaml")
        ]
        assert tracing["apiVersion"] == f"apiserver.config.k8s.io/{config}"
        assert tracing["samplingRatePerMillion"] == 1000
        apiserver, etcd_flags = arguments(files, kind)
        assert apiserver.get("feature-gates") == ("APIServerTracing=true" if gate else None), (k8s, member)
        assert apiserver["tracing-config-file"].endswith(".yaml")
        assert etcd_flags == {
            f"{PREFIX[member]}enable-distributed-tracing": "true",
            f"{PREFIX[member]}distributed-tracing-address": tracing["endpoint"],
            f"{PREFIX[member]}distributed-tracing-instance-id": "etcd-0",
        }
        if target == "kubeadm":
            assert f"apiVersion: kubeadm.k8s.io/{kubeadm}\n" in files["cluster-configuration.yaml"].text


@pytest.mark.parametrize("target", ["kubeadm", "static-pod", "kind"])
@pytest.mark.parametrize("k8s", ["1.25", "1.30", "1.33", "1.37"])
def test_the_tracing_file_is_mounted_where_the_flag_points(target, k8s):
    """The path of --tracing-config-file lies in a volume of the container, and in kind the node has it too."""
    text = "".join(file.text for path, file in files_of(target, k8s).items() if path != "README.md")
    assert "/etc/kubernetes/tracing/config.yaml" in text
    assert "mountPath: /etc/kubernetes/tracing\n" in text
    assert ("containerPath: /etc/kubernetes/tracing\n" in text) == (target == "kind")


def test_each_member_has_an_instance_id_of_its_own():
    """Three members: three ids, and none in what they share."""
    for target in ("kubeadm", "kind", "static-pod", "k3s"):
        files = files_of(target, members=["a", "b", "c"])
        ids = re.findall(
            r"instance-id[=:] ?(\w+)", "".join(f.text for p, f in files.items() if p != "README.md")
        )
        assert sorted(ids) == ["a", "b", "c"], target


@pytest.mark.parametrize(
    ("k8s", "target"),
    [
        ("1.30", "kubeadm"),
        ("1.33", "kubeadm"),
        ("1.33", "static-pod"),
        ("1.33", "kind"),
        ("1.37", "kind"),
        ("1.33", "k3s"),
    ],
)
def test_environment_reaches_both_processes(k8s, target):
    """Compression and token as environment, in a file that only its owner may read; the token is percent-encoded."""
    files = files_of(target, k8s, compression="gzip", token="a+b/c=")
    header = "authorization=Bearer%20a%2Bb%2Fc%3D"
    where = [path for path, file in files.items() if header in file.text]
    assert sum(files[path].text.count(header) for path in where) == (1 if target == "k3s" else 2)
    assert all(files[path].mode == 0o600 for path in where)
    assert all(files[path].mode != 0o600 for path in files if path not in where)
    assert header not in files["README.md"].text
    for path, file in files.items():
        if path.endswith(".yaml"):
            (content,) = parse(file.text)
            validate(content, schema_of(path, content))


def test_spans_a_second_follow_from_requests_a_second():
    """400 requests a second, 10,000 of a million sampled: 4 requests, and at about 10 spans each 40 spans a second."""
    page = files_of("kubeadm", "1.36", "3.6", rate=10_000, requests_per_second=400)["README.md"].text
    assert (
        "At 400 API requests a second that is 4 a second, and with about 10 spans each 40 spans a second."
        in page
    )


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"k8s": "1.21"}, "1.21 cannot trace: the first that can is 1.22"),
        ({"k8s": "1.38"}, "newer than our table"),
        ({"k8s": "latest"}, "expected a Kubernetes version"),
        ({"etcd": "3.5"}, "give the patch too"),
        ({"etcd": "3.4.13"}, "not in our table"),
        ({"endpoint": "http://otel:4317"}, "begins with http://"),
        ({"endpoint": "otel"}, "not host:port"),
        ({"endpoint": "unix:///run/otel.sock"}, "unix sockets"),
        ({"rate": 0}, "1 to 1000000"),
        ({"rate": 1_000_001}, "1 to 1000000"),
        ({"members": ["../x"]}, "lower-case"),
        ({"members": ["a", "a"]}, "same name"),
        ({"members": ["a", "b"], "target": "minikube"}, "one etcd member"),
        ({"token": "two words"}, "one word"),
        ({"compression": "gzip", "target": "minikube"}, "minikube cannot"),
    ],
)
def test_what_cannot_be_written_is_refused(wrong, words):
    """The message says what to give instead."""
    with pytest.raises(SetupError, match=re.escape(words)):
        settings(**{"k8s": "1.33", "etcd": "3.5.24", "target": "kubeadm", **wrong})


def test_a_token_is_not_in_the_settings_repr():
    made = settings(k8s="1.33", etcd="3.6", target="kubeadm", token="s3cret")
    assert "s3cret" not in repr(made)


@pytest.mark.parametrize(
    ("version", "row"), [("1.22", 0), ("v1.27.3", 5), ("1.33.1+k3s1", 11), ("1.37.0-beta.0", 15)]
)
def test_kubernetes_versions_find_their_row(version, row):
    assert kubernetes(version) is KUBERNETES[row]


@pytest.mark.parametrize(
    ("version", "row"),
    [
        ("3.5.0", 0),
        ("3.5.4", 0),
        ("3.5.5", 1),
        ("3.5.10-0", 1),
        ("v3.5.11", 2),
        ("3.5.99", 2),
        ("3.6", 3),
        ("3.7.1", 4),
        ("3.8.0-alpha.0", 4),
    ],
)
def test_etcd_versions_find_their_range(version, row):
    assert etcd(version) is ETCD[row]


# ── The user's own files ──────────────────────────────────────────────────────────────────────────


def own(*names):
    return tuple(Own(name, (DATA / "own" / name).read_text()) for name in names)


def changed_lines(before, after):
    gone = [line for line in before.splitlines() if line not in after.splitlines()]
    new = [line for line in after.splitlines() if line not in before.splitlines()]
    return gone, new


def test_the_users_apiserver_keeps_all_but_tracing():
    """Comments, quotes and order stay; the old try goes; other gates stay."""
    before = own("kube-apiserver.yaml")
    files = files_of("static-pod", "1.25", "3.5.10", before)
    gone, new = changed_lines(before[0].text, files["manifests/kube-apiserver.yaml"].text)
    assert gone == [
        "    - --feature-gates=EphemeralContainers=true,APIServerTracing=false",
        "    - --tracing-config-file=/tmp/tracing.yaml",
    ]
    assert new == [
        "    - --feature-gates=EphemeralContainers=true,APIServerTracing=true",
        "    - --tracing-config-file=/etc/kubernetes/tracing/config.yaml",
        "    - name: tracing",
        "      mountPath: /etc/kubernetes/tracing",
        "  - name: tracing",
        "    hostPath:",
        "      path: /etc/kubernetes/tracing",
    ]


def test_the_users_etcd_gets_the_names_of_its_version():
    """Old names go, written as one word or as two; a copy per member."""
    before = own("etcd.yaml")
    files = files_of("static-pod", "1.34", "3.6.4", before, members=["cp-1", "cp-2"])
    assert [path for path in files if "etcd" in path] == [
        "manifests/cp-1/etcd.yaml",
        "manifests/cp-2/etcd.yaml",
    ]
    gone, new = changed_lines(before[0].text, files["manifests/cp-2/etcd.yaml"].text)
    assert [line.strip(" -") for line in gone] == [
        "experimental-enable-distributed-tracing",
        "experimental-distributed-tracing-address",
        "otel:4317",
    ]
    assert [line.strip(" -") for line in new] == [
        "enable-distributed-tracing=true",
        "distributed-tracing-address=localhost:4317",
        "distributed-tracing-instance-id=cp-2",
    ]


def test_rendering_from_the_result_changes_nothing():
    """Once put in, put in: a second time gives the same text."""
    for name, path in (
        ("kube-apiserver.yaml", "manifests/kube-apiserver.yaml"),
        ("etcd.yaml", "manifests/etcd.yaml"),
    ):
        once = files_of("static-pod", "1.25", "3.5.10", own(name))[path].text
        assert files_of("static-pod", "1.25", "3.5.10", (Own(name, once),))[path].text == once
    once = files_of("kubeadm", "1.31", "3.5.24", own("cluster.yaml"))["cluster-configuration.yaml"].text
    again = files_of("kubeadm", "1.31", "3.5.24", (Own("x", once),))["cluster-configuration.yaml"].text
    assert again == once


def test_the_users_cluster_configuration_keeps_its_form():
    """v1beta3 stays v1beta3 where v1beta4 is to be had; the gate goes, as 1.31 has it on."""
    text = files_of("kubeadm", "1.31", "3.5.24", own("cluster.yaml"))["cluster-configuration.yaml"].text
    assert "# our cluster" in text
    assert '["api.example.com"] # the load balancer' in text
    assert "kind: KubeletConfiguration" in text
    cluster = parse(text)[0]
    assert cluster["apiServer"]["extraArgs"] == {
        "authorization-mode": "Node,RBAC",
        "tracing-config-file": "/etc/kubernetes/tracing/config.yaml",
    }


@pytest.mark.parametrize(
    ("target", "text", "words"),
    [
        (
            "static-pod",
            "kind: Pod\nspec: {containers: [{name: web, command: [web]}]}\n",
            "neither kube-apiserver",
        ),
        (
            "static-pod",
            "kind: Pod\nspec: {containers: [{name: etcd, command: [sh, -c, etcd --x]}]}\n",
            "not a list of flags",
        ),
        ("static-pod", "a: 1\na: 2\n", "x.yaml: line 2"),
        (
            "kubeadm",
            "kind: ClusterConfiguration\napiVersion: kubeadm.k8s.io/v1beta2\n",
            "kubeadm config migrate",
        ),
        ("kind", "kind: Cluster\n", "leave out --from"),
    ],
)
def test_a_file_that_is_not_the_right_one_is_refused(target, text, words):
    with pytest.raises(SetupError, match=re.escape(words)):
        files_of(target, own=(Own("x.yaml", text),))


def in_any_order(items):
    return sorted(json.dumps(item, sort_keys=True) for item in items)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not here")
def test_the_patches_do_what_patching_does(tmp_path):
    """kubectl patch --local, as the page tells, gives the flags, mount and volume that patching in place gives."""
    files = files_of("static-pod", "1.25", "3.5.10")
    write(tmp_path, files)
    (tmp_path / "before").mkdir()
    plain = (DATA / "own" / "kube-apiserver.yaml").read_text()
    plain = re.sub(r"^ +- --(feature-gates|tracing).*\n", "", plain, flags=re.MULTILINE)
    (tmp_path / "before" / "kube-apiserver.yaml").write_text(plain)
    commands = re.findall(
        r"^ +(?:sudo )?(kubectl patch .*kube-apiserver.*)$", files["README.md"].text, re.MULTILINE
    )
    for command in commands:
        line = command.replace("/root/before-tracing", "before")
        subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (by_kubectl,) = parse((tmp_path / "new-kube-apiserver.yaml").read_text())
    (by_us,) = parse(
        files_of("static-pod", "1.25", "3.5.10", (Own("x", plain),))["manifests/kube-apiserver.yaml"].text
    )
    for key in ("command", "volumeMounts"):
        ours, theirs = by_us["spec"]["containers"][0][key], by_kubectl["spec"]["containers"][0][key]
        assert in_any_order(ours) == in_any_order(theirs)
    names = [{v["name"]: v["hostPath"] for v in pod["spec"]["volumes"]} for pod in (by_us, by_kubectl)]
    assert names[0] == names[1]


def test_the_minikube_script_is_a_shell_script():
    script = files_of("minikube", "1.25", endpoint="10.0.0.1:4317")["start.sh"].text
    subprocess.run(["sh", "-n"], input=script, text=True, check=True, timeout=20)
    assert "--feature-gates=APIServerTracing=true" in script


# ── The folder ────────────────────────────────────────────────────────────────────────────────────


def test_files_are_written_with_their_modes(tmp_path):
    out = tmp_path / "new" / "out"
    files = files_of("kubeadm", token="s3cret")
    assert write(out, files) == [out / name for name in files]
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == set(files)
    assert stat.S_IMODE((out / "cluster-configuration.yaml").stat().st_mode) == 0o600
    assert stat.S_IMODE((out / "README.md").stat().st_mode) == 0o644


def test_nothing_is_overwritten_without_force(tmp_path):
    """One file in the way, and none is written; with force all are."""
    files = files_of("kubeadm")
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(SetupError, match="--force"):
        write(tmp_path, files)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    write(tmp_path, files, force=True)
    assert (tmp_path / "README.md").read_text() == files["README.md"].text


def test_nothing_is_written_outside_the_folder(tmp_path):
    """A symbolic link inside the folder leads out, an absolute name, a step up: refused. A linked file is replaced."""
    files = files_of("kubeadm")
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "tracing").symlink_to(elsewhere)
    for names in (files, {"/etc/x": files["README.md"]}, {"../x": files["README.md"]}):
        with pytest.raises(SetupError, match="outside"):
            write(out, names, force=True)
    assert list(elsewhere.iterdir()) == []
    (out / "tracing").unlink()
    (elsewhere / "victim").write_text("mine")
    (out / "README.md").symlink_to(elsewhere / "victim")
    write(out, files, force=True)
    assert (elsewhere / "victim").read_text() == "mine"


def test_the_kubelets_folder_is_refused():
    with pytest.raises(SetupError, match="the kubelet runs every file"):
        write(Path("/etc/kubernetes/manifests/tracing"), files_of("kubeadm"))
