"""Fails unless TAG, the crate, CITATION.cff, the chart and the changelog name one version."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def versions() -> dict[str, str]:
    """Where a version stands, and which."""
    texts = {name: (ROOT / name).read_text() for name in ("CITATION.cff", "deploy/helm/k8strace/Chart.yaml")}
    return {
        "rust/Cargo.toml": tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["package"]["version"],
        **{name: re.findall(r"^version: (\S+)$", text, re.MULTILINE)[0] for name, text in texts.items()},
    }


def complaints(tag: str) -> list[str]:
    """What does not fit the tag."""
    wrong = [
        f"{name} has {found}, the tag is {tag}" for name, found in versions().items() if tag != f"v{found}"
    ]
    told = f"## [{tag.removeprefix('v')}]" in (ROOT / "CHANGELOG.md").read_text()
    return wrong if told else [*wrong, f"CHANGELOG.md has no section for {tag}"]


sys.exit("\n".join(complaints(sys.argv[1])) or 0)
