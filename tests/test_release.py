"""Releases are what the Makefile makes: the workflow of a public host only says when, where and who."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["package"]["version"]


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]


def steps(jobs: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in jobs.values() for step in job["steps"]]


def test_what_is_checked_and_built_is_a_target_of_the_makefile(jobs):
    """Before the upload every command is one make, and make itself knows the target."""
    ran = [step["run"] for name in ("check", "build") for step in jobs[name]["steps"] if "run" in step]
    assert len(ran) == 5
    for command in ran:
        program, target, *_ = command.split()
        assert program == "make"
        dry = ["make", "--dry-run", "--always-make", target, "TAG=v0"]
        assert subprocess.run(dry, check=False, cwd=ROOT, capture_output=True, timeout=60).returncode == 0, (
            command
        )


def test_both_kinds_of_machine_are_built_that_wheels_builds(jobs):
    """The matrix has what `make wheels` crosses for."""
    (crossed,) = re.findall(r"filter-out \$\(shell uname -m\),(.*?)\)", (ROOT / "Makefile").read_text())
    machines = {each["machine"] for each in jobs["build"]["strategy"]["matrix"]["include"]}
    assert machines == set(crossed.split())


def test_no_secret_is_needed_and_no_job_may_more_than_it_must(jobs):
    """Rights are given job by job; only the upload writes, and by identity, not by a token of ours."""
    workflow = (ROOT / ".github/workflows/release.yml").read_text()
    assert "secrets." not in workflow
    assert yaml.safe_load(workflow)["permissions"] == {}
    assert {name for name, job in jobs.items() if "write" in job["permissions"].values()} == {"publish"}
    assert jobs["publish"]["permissions"]["id-token"] == "write"
    assert jobs["publish"]["if"] == "github.ref_type == 'tag'"
    assert all("timeout-minutes" in job for job in jobs.values())
    for step in steps(jobs):  # a name of a branch or tag is data: it reaches a shell as a variable only
        assert "${{" not in step.get("run", "")


def test_the_list_of_parts_has_every_crate_and_requirement(tmp_path):
    """With the checksums of the lock; twice the same bytes."""
    for name in ("one", "two"):
        subprocess.run([sys.executable, ROOT / ".ci/sbom.py", tmp_path / name], check=True, timeout=60)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    listed = json.loads((tmp_path / "one").read_text())
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.5")
    purls = [part["purl"] for part in listed["components"]]
    assert len(purls) == len(set(purls))
    locked = re.findall(r'name = "(.+)"\nversion = "(.+)"\nsource = ', (ROOT / "rust/Cargo.lock").read_text())
    assert {f"pkg:cargo/{name}@{version}" for name, version in locked} <= set(purls)
    needed = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert {f"pkg:pypi/{name}" for name in needed} <= set(purls)


@pytest.mark.parametrize(("tag", "fits"), [(f"v{VERSION}", True), ("v9.9.9", False), ("", False)])
def test_a_tag_that_does_not_fit_is_refused(tag, fits):
    """All that names a version is named where it differs."""
    command = [sys.executable, ROOT / ".ci/release_check.py", tag]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    named = [name for name in ("Cargo.toml", "CITATION.cff", "Chart.yaml") if name in done.stderr]
    assert (named == []) is fits


def test_the_citation_has_what_its_format_requires_and_says_what_is_so():
    """CFF 1.2.0: four required keys, no unknown ones of those that we use; version, licence, address of the package."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (VERSION, PROJECT["license"])
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert all(set(author) == {"name"} for author in citation["authors"])


def test_project_urls_lead_to_files_that_there_are():
    """What comes after the branch is a path of this repository."""
    for url in PROJECT["urls"].values():
        assert url.startswith(PROJECT["urls"]["Repository"])
        for path in re.findall(r"/(?:blob|tree)/main/(.*)", url):
            assert (ROOT / path).exists()


def test_badges_say_what_the_package_says():
    """Each is a picture of words that stand in pyproject.toml or in the documentation; none is fetched from a build."""
    badges = re.findall(
        r"!\[(.*?)\]\(https://img\.shields\.io/badge/(.*?)-\w+\)", (ROOT / "README.md").read_text()
    )
    told = {
        alt: words.replace("%E2%89%A5_", ">=").replace("--", "-").replace("_", " ") for alt, words in badges
    }
    assert told == {
        "Python": f"Python-{PROJECT['requires-python']}",
        "License": f"License-{PROJECT['license']}",
        "Kubernetes": "Kubernetes-1.22 to 1.37",
    }


# ── kubectl's plugin manager ──────────────────────────────────────────────────────────────────────


def test_the_krew_manifest_is_one_and_names_what_is_built():
    """Filled in as its bot does it: the keys of its schema, and an archive that the Makefile makes."""
    filled = re.sub(
        r"\{\{addURIAndSha \"(.*?)\" \.TagName \}\}",
        r"uri: \1\n      sha256: " + "0" * 64,
        (ROOT / ".krew.yaml").read_text(),
    ).replace("{{ .TagName }}", f"v{VERSION}")
    manifest = yaml.safe_load(filled)
    assert manifest["kind"] == "Plugin"
    spec = manifest["spec"]
    assert len(spec["shortDescription"]) <= 50
    assert {"version", "homepage", "shortDescription", "description", "platforms"} <= set(spec)
    (platform,) = spec["platforms"]
    assert platform["uri"].startswith(f"{PROJECT['urls']['Repository']}/releases/download/v{VERSION}/")
    assert f"dist/{platform['uri'].rpartition('/')[2]}" in (ROOT / "Makefile").read_text()
    assert platform["bin"] in PROJECT["scripts"]


def test_what_krew_installs_finds_the_package(tmp_path):
    """The installed plugin before all else, then uv; where there is nothing, words and 1."""
    script = ROOT / "deploy/krew/kubectl-k8strace"
    asked = [str(script), "why", "pods"]

    def said(path: Path) -> tuple[int, str]:
        environment = {"PATH": f"{path}:/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(asked, check=False, env=environment, capture_output=True, text=True, timeout=30)
        return done.returncode, done.stdout + done.stderr

    def program(path: Path, words: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho {words} "$@"\n')
        path.chmod(0o755)

    program(tmp_path / "uv" / "uvx", "fetched")
    code, words = said(tmp_path / "uv")
    assert (code, words) == (0, "fetched --quiet --from k8strace[serve,setup] kubectl-k8strace why pods\n")
    program(tmp_path / "own" / "k8strace", "no")
    program(tmp_path / "own" / "kubectl-k8strace", "installed")
    assert said(tmp_path / "own") == (0, "installed why pods\n")
    if not any((Path(folder) / name).exists() for folder in ("/usr/bin", "/bin") for name in ("uvx", "pipx")):
        assert said(tmp_path / "nothing")[0] == 1


@pytest.mark.slow
def test_a_wheel_brings_the_manual_page_and_completions(tmp_path):
    """What the program says of itself, where man and the shells look for it."""
    subprocess.run([sys.executable, ROOT / ".ci/shares.py", tmp_path], check=True, cwd=ROOT, timeout=120)
    share = tmp_path / "data/share"
    files = {str(path.relative_to(share)): path for path in share.rglob("*") if path.is_file()}
    assert set(files) == {
        "man/man1/k8strace.1",
        "bash-completion/completions/k8strace",
        "zsh/site-functions/_k8strace",
        "fish/vendor_completions.d/k8strace.fish",
    }
    assert files["man/man1/k8strace.1"].read_text().startswith(".TH K8STRACE 1")
    for path in files.values():
        assert "metrics-to" in path.read_text().replace("\\-", "-")
