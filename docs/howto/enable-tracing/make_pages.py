"""
Writes the pages on switching tracing on, from the tables that `setup render` uses.

    python docs/howto/enable-tracing/make_pages.py

A test compares the pages with what this gives.
"""
# ruff: noqa: E501 - Markdown has one sentence a line

from pathlib import Path

from k8strace.setup.findings import TRAPS
from k8strace.setup.pages import TITLES, readme
from k8strace.setup.render import render
from k8strace.setup.settings import DEFAULT_ENDPOINT, DEFAULT_RATE, EVERY_REQUEST, TARGETS, settings
from k8strace.setup.versions import ETCD, KUBERNETES, SOURCES

DOCS = Path(__file__).parents[2]
K8S, MEMBER = "1.33", "3.5.24"
LANGUAGES = {".yaml": "yaml", ".sh": "sh"}

INTRO = f"""\
This page shows Kubernetes {K8S} with etcd {MEMBER}.
Other versions need other files, and the command writes those for yours: [the versions](../../reference/tracing-versions.md) say what differs.
"""

CHOICE = """\
# Switch tracing on

kube-apiserver and etcd do not trace by default. How to switch it on depends on their versions and on how they are run.
`k8strace setup` writes what is needed, finds what is wrong in what is there, and shows the first request.
It never changes a node or a file that it was not given.
It needs the extra `setup`: `pip install 'k8strace[setup]'`.

## 1. Find your versions

```sh
kubectl version
kubectl -n kube-system get pods -l component=etcd -o jsonpath='{.items[*].spec.containers[0].image}'
```

Take etcd's version from its image, not from that of Kubernetes: it changed its flags within 3.5, and again in 3.6 and 3.7.

## 2. Write the files, and follow their page

| Control plane run by | Page | Endpoint unless you give one |
|---|---|---|
"""

AFTER = """\

```{toctree}
:hidden:

"""

REST = f"""\
```

EKS, GKE and AKS offer neither flag.
Nodes have theirs: `--kubelet` and `--runtime containerd|crio` write what a kubelet and its container runtime need, see [](pods.md).
`--rate` is {DEFAULT_RATE:,} of a million requests unless you give another, which is for production; in a test cluster give `--rate {EVERY_REQUEST}`, which samples every request.
`--requests-per-second` works out how many spans a second that makes.

The receiver that every page starts is [`k8strace serve`](serve.md).

## 3. Check what is there

Manifests that you have already, or that were changed:

```sh
k8strace setup check /etc/kubernetes/manifests /etc/kubernetes/tracing
```

Each [known trap](../reference/tracing-versions.md) comes with its file, its line and what to write instead.
The exit code is 1 if there is an error, so that CI stops; `--strict` counts warnings too, and `--json` is for programs.

## 4. See the first request

The probe takes certificates as files.
From kubeadm's kubeconfig, on the node where `kubeadm init` ran (before 1.29 the file is `admin.conf`):

```sh
umask 077
sudo cat /etc/kubernetes/super-admin.conf > super-admin.conf
for name in certificate-authority client-certificate client-key; do
  awk -v key="$name-data:" '$1 == key {{ print $2 }}' super-admin.conf | base64 -d > "$name.pem"
done
rm super-admin.conf
```

Then:

```sh
k8strace setup probe --server https://10.0.0.11:6443 --ca-file certificate-authority.pem --client-cert client-certificate.pem --client-key client-key.pem
```

The probe opens a receiver on 127.0.0.1:4317 (`--listen` for another place), sends GETs until spans flow, then the one that counts, with a sampled `traceparent` and a user agent like no other, and prints where its time went.
It waits up to 60 s (`--timeout`), as etcd's exporter may need 18 s to come back to a receiver that was not there.
If a receiver runs already and writes to a file, give `--store FILE` instead.
If nothing comes, it says what came instead and the likely causes for your version.

From 1.33 on kube-apiserver obeys the `traceparent` of callers in `system:masters` and `system:monitoring`.
With kubeadm 1.29 and newer these are the certificates in `super-admin.conf`; `admin.conf` is no longer one of them.
Of other callers, and before 1.33, the rate alone decides: set `samplingRatePerMillion: 1000000` for the time of the probe.
Tokens come from `--token-file` or `--token-env`, and are never shown.
"""


def page(target: str) -> str:
    """One target: the command, the files it writes, and the page that comes with them."""
    wanted = settings(k8s=K8S, etcd=MEMBER, target=target)
    files = render(wanted)
    blocks = [
        f"### `{path}`\n\n```{LANGUAGES[Path(path).suffix]}\n{file.text.rstrip()}\n```"
        for path, file in files.items()
        if path != "README.md"
    ]
    del files["README.md"]
    title, _, sections = readme(wanted, files).split("\n\n", 2)
    listing, rest = sections.split("\n\n## Apply", 1)
    command = f"k8strace setup render --k8s {K8S} --etcd {MEMBER} --target {target} --out tracing"
    every = command.replace(" --out", f" --rate {EVERY_REQUEST} --out")
    rates = (
        f"That samples {DEFAULT_RATE:,} of a million requests, a rate for production. For a test cluster, sample every request:\n\n"
        f"```sh\n{every}\n```\n\n"
        "The spans go to [`k8strace serve`](../serve.md), which shows where the time goes as they come."
    )
    parts = [title, INTRO.rstrip(), f"```sh\n{command}\n```", rates, listing, *blocks, f"## Apply{rest}"]
    return "\n\n".join(parts)


def choice() -> str:
    """The page above the pages."""
    rows = [
        f"| {TITLES[name]} | [{name}](enable-tracing/{name}.md) | `{DEFAULT_ENDPOINT[name]}` |"
        for name in TARGETS
    ]
    links = [f"enable-tracing/{name}" for name in TARGETS]
    return CHOICE + "\n".join(rows) + "\n" + AFTER + "\n".join(links) + "\n" + REST


def versions() -> str:
    """The matrix, the traps and the sources."""
    yes = {True: "yes", False: "no"}
    releases = [
        f"| {row.name} | {row.gate.value} | {', '.join(row.accepts)} | {row.writes} | {yes[row.strict]} | "
        f"{yes[row.honours_traceparent]} | {row.kubeadm} | {row.kind_kubeadm} | {row.spans_per_request} |"
        for row in KUBERNETES
    ]
    members = [
        f"| {row.title} | `--{row.flag('enable')}` | {', '.join(row.names)} | {row.records.value} | "
        f"{'' if row.old_names == 'only' else row.old_names} |"
        for row in ETCD
    ]
    traps = [f"| `{code}` | {trap.severity} | {trap.meaning} |" for code, trap in TRAPS.items()]
    sources = [f"| {column.replace('_', ' ')} | {where} |" for column, where in SOURCES.items()]
    return "\n".join(
        [
            "# Versions of tracing",
            "",
            "What `k8strace setup` goes by. [Switch tracing on](../howto/enable-tracing.md) says how to use it.",
            "",
            "## Kubernetes",
            "",
            (
                "| Release | Gate `APIServerTracing` | `TracingConfiguration` read | written | Unknown key stops it | "
                "`traceparent` of privileged callers obeyed | kubeadm's form | kind's form | Spans per request |"
            ),
            "|---|---|---|---|---|---|---|---|---|",
            *releases,
            "",
            "Privileged callers are those in `system:masters` and `system:monitoring`.",
            (
                "`TracingConfiguration` has `endpoint` (host:port, `dns:///…`, `unix:///…`; never `http://`) and "
                "`samplingRatePerMillion` (0 to 1000000), and nothing else."
            ),
            "1.37 as of its beta.",
            "",
            "## etcd",
            "",
            "| Release | Switch | Flags with the same prefix | What it records | Names with `experimental-` |",
            "|---|---|---|---|---|",
            *members,
            "",
            "The instance id is unset by default, and members without one look like one.",
            "",
            "## Traps",
            "",
            "What `k8strace setup check` finds. A code keeps its meaning.",
            "",
            "| Code | Severity | What it is |",
            "|---|---|---|",
            *traps,
            "",
            "## Sources",
            "",
            "| Rule | Where it was read |",
            "|---|---|",
            *sources,
            "",
        ]
    )


def pages() -> dict[Path, str]:
    """Every page, by path."""
    folder = DOCS / "howto" / "enable-tracing"
    return {
        DOCS / "howto" / "enable-tracing.md": choice(),
        DOCS / "reference" / "tracing-versions.md": versions(),
        **{folder / f"{target}.md": page(target) for target in TARGETS},
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
