"""Programs of others that tests run, built from their Go modules where Go is."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def go(source: Path, *arguments: str, reason: str, seconds: float) -> None:
    """One command of Go in this folder. Without what it needs from elsewhere the tests are skipped."""
    try:
        done = subprocess.run(
            ["go", *arguments], check=False, cwd=source, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{reason} within {seconds:.0f} s")
    if done.returncode:
        pytest.skip(f"{reason}: {done.stderr.strip()[-200:]}")


def recipe(sources: Sequence[Path]) -> str:
    """What a program is made of, as a number: another recipe is another program."""
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def built(
    source: Path,
    package: str,
    to: Path,
    *,
    fetched_by: Sequence[tuple[Sequence[str], float]],
    reason: str,
    build: float,
) -> Path:
    """
    The program at `to`, built there from `package` unless it stands there already.

    Skips the test if there is no Go, or if a command of `fetched_by` fails, or takes longer than its seconds.
    """
    if to.exists():
        return to
    if shutil.which("go") is None:
        pytest.skip("Go is not installed")
    for arguments, seconds in fetched_by:
        go(source, *arguments, reason=reason, seconds=seconds)
    fresh = to.with_suffix(f".{os.getpid()}")
    command = ["go", "build", "-trimpath", "-o", str(fresh), package]
    subprocess.run(command, check=True, cwd=source, timeout=build)
    return fresh.rename(to)
