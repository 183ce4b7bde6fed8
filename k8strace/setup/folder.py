"""Writes rendered files into a folder: all or none, never outside it, and never over existing files unless told."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from k8strace.setup.files import File
from k8strace.setup.versions import SetupError

__all__ = ["write"]

KUBELET_FOLDER: Final = Path("/etc/kubernetes/manifests")
"""The kubelet runs every file in here."""


def write(out: Path, files: Mapping[str, File], *, force: bool = False) -> list[Path]:
    """
    Writes files below a folder, which is created if it is missing. Each file appears whole or not at all.

    Args:
        out: The folder.
        files: Path within it → file.
        force: Replace existing files.

    Returns:
        The paths written, in order.

    Raises:
        SetupError: A file exists, a path leads outside, or the folder is one whose files the kubelet runs.
        OSError: A file cannot be written.
    """
    root = out.resolve()
    if KUBELET_FOLDER in (root, *root.parents):
        raise SetupError(f"{out}: the kubelet runs every file in {KUBELET_FOLDER}: give another folder")
    places = {name: _place(root, name) for name in files}
    there = [path for path in places.values() if path.is_symlink() or path.exists()]
    if there and not force:
        raise SetupError(f"{there[0]} is there already: give an empty folder, or --force to replace it")
    for name, path in places.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_one(path, files[name])
    return list(places.values())


def _place(root: Path, name: str) -> Path:
    """The path of a file; no part of it may leave the folder, not even through a symbolic link."""
    steps = PurePosixPath(name)
    path = root.joinpath(*steps.parts)
    if steps.is_absolute() or ".." in steps.parts or not path.parent.resolve().is_relative_to(root):
        raise SetupError(f"{name} would lie outside {root}")
    if path.is_dir() and not path.is_symlink():
        raise SetupError(f"{path} is a folder: give another output folder")
    return path


def _write_one(path: Path, file: File) -> None:
    """Writes a temporary file and renames it: a reader sees the old file or the new one."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".k8strace-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(file.text)
            os.fchmod(stream.fileno(), file.mode)
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
