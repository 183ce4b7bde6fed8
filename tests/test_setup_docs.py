"""The how-to pages: their files are what `render` writes, and their commands are commands."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from k8strace import cli
from k8strace.cli.commands import parser
from k8strace.setup.render import render
from k8strace.setup.settings import TARGETS, settings

DOCS = Path(__file__).parents[1] / "docs"
PAGES = DOCS / "howto" / "enable-tracing"


def maker():
    spec = importlib.util.spec_from_file_location("make_pages", PAGES / "make_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_tables_give():
    """Changed a table? python docs/howto/enable-tracing/make_pages.py"""
    for path, text in maker().pages().items():
        assert path.read_text("utf-8") == text, path


@pytest.mark.parametrize("target", TARGETS)
def test_the_files_of_a_page_are_what_its_command_writes(target, tmp_path):
    """Read from the page as a reader would: the command, and the block under each file's name."""
    page = (PAGES / f"{target}.md").read_text("utf-8")
    command = re.search(r"^k8strace (setup render .*)$", page, re.MULTILINE)[1]
    words = shlex.split(command)
    words[words.index("--out") + 1] = str(tmp_path)
    assert cli.main(words) == 0
    shown = dict(re.findall(r"^### `(.*?)`\n\n```\w+\n(.*?)\n```$", page, re.MULTILINE | re.DOTALL))
    written = {
        p.relative_to(tmp_path).as_posix(): p.read_text("utf-8") for p in tmp_path.rglob("*") if p.is_file()
    }
    assert shown | {"README.md": ""} == {name: text.rstrip("\n") for name, text in written.items()} | {
        "README.md": ""
    }
    assert shown.keys() == render(settings(k8s="1.33", etcd="3.5.24", target=target)).keys() - {"README.md"}


@pytest.mark.parametrize(
    "name", ["howto/enable-tracing.md", *(f"howto/enable-tracing/{t}.md" for t in TARGETS)]
)
def test_every_setup_command_of_a_page_parses(name):
    lines = re.findall(r"^ *(k8strace setup .*)$", (DOCS / name).read_text("utf-8"), re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("target", TARGETS)
def test_every_page_leads_to_the_receiver_and_has_a_rate_for_each_kind_of_cluster(target):
    page = (PAGES / f"{target}.md").read_text("utf-8")
    (serve,) = re.findall(r"^ +(k8strace serve.*)$", page, re.MULTILINE)
    (listen,) = parser().parse_args(shlex.split(serve)[1:]).grpc_listen or ["localhost:4317"]
    beyond = {"kind": "172.18.0.1:4317", "minikube": "0.0.0.0:4317"}
    assert listen == beyond.get(target, "localhost:4317")
    commands = re.findall(r"^k8strace (setup render .*)$", page, re.MULTILINE)
    assert [parser().parse_args(shlex.split(each)).rate for each in commands] == [1_000, 1_000_000]


def test_the_versions_page_has_every_release():
    page = (DOCS / "reference" / "tracing-versions.md").read_text("utf-8")
    for release in [f"1.{minor}" for minor in range(22, 38)]:
        assert f"| {release} |" in page
    for member in ("3.5.0 to 3.5.4", "3.5.5 to 3.5.10", "3.5.11 and newer 3.5", "3.6", "3.7 and newer"):
        assert f"| {member} |" in page


def test_help_does_not_load_what_only_a_command_needs():
    """`add_commands` itself costs no YAML, no gRPC."""
    heavy = ("ruamel.yaml", "grpc", "networkx", "rich")
    code = f"import sys, k8strace.cli.setup; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
