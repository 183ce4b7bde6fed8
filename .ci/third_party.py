"""Writes the licences of the crates that are linked into the wheel, with their texts, as LICENSE-THIRD-PARTY."""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAD = """\
The compiled core of k8strace is made of these Rust crates, under the licences named.
Made by `make licenses`.
"""
TEXT = re.compile("(un)?licen[sc]e|copying|notice", re.IGNORECASE)
TARGETS = [f"{machine}-unknown-linux-{libc}" for machine in ("x86_64", "aarch64") for libc in ("gnu", "musl")]


def cargo(*arguments: str) -> str:
    """What cargo says of the core."""
    command = ["cargo", *arguments, "--locked", "--manifest-path", str(ROOT / "rust" / "Cargo.toml")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def linked() -> list[tuple[str, str, str]]:
    """Name, version and licence of every crate in a wheel of ours; no build tools, no macros."""
    targets = (f"--target={target}" for target in TARGETS)
    edges = "--edges=normal,no-proc-macro"
    tree = cargo("tree", edges, "--features=python", *targets, "--prefix=none", "--format={p}|{l}")
    crates = {line.removesuffix(" (*)") for line in tree.splitlines() if line and "(/" not in line}
    named = (crate.split("|") for crate in sorted(crates))
    return [(*what.split(" v", 1), licence) for what, licence in named]


def texts() -> dict[tuple[str, str], list[str]]:
    """Name and version of a crate → its licence texts, as its authors published them."""
    packages = json.loads(cargo("metadata", "--format-version=1", "--all-features"))["packages"]
    return {
        (each["name"], each["version"]): texts_in(Path(each["manifest_path"]).parent) for each in packages
    }


def texts_in(folder: Path) -> list[str]:
    """Of each file that holds one."""
    files = sorted(file for file in folder.iterdir() if TEXT.match(file.name) and file.is_file())
    return [
        "\n".join(line.rstrip() for line in file.read_text("utf-8").strip().splitlines()) for file in files
    ]


def page() -> str:
    """All of it. A text that several crates share is printed once."""
    crates, published = linked(), texts()
    lines = [HEAD, *(f"{name} {version}: {licence}" for name, version, licence in crates)]
    holders: dict[str, list[str]] = {}
    for name, version, _ in crates:
        for text in published[name, version]:
            holders.setdefault(text, []).append(f"{name} {version}")
    for text, names in holders.items():
        lines += ["", "=" * 80, ", ".join(names), "=" * 80, "", text]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "LICENSE-THIRD-PARTY").write_text(page(), "utf-8")
