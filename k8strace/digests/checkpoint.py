"""Checkpoints of a digest: one file, replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from k8strace.exceptions import DigestError

__all__ = ["Blobs", "read_checkpoint", "write_checkpoint"]

NAME: Final = "digest"

MAGIC: Final = b"k8strace-digest 1\n"

Blobs = Mapping[str, bytes]


def write_checkpoint(into: Path, told: Mapping[str, Any], blobs: Blobs) -> None:
    """Replaces the checkpoint. After a crash there is either the new one or the one before, and it is whole."""
    head = {"told": told, "blobs": {name: len(blob) for name, blob in blobs.items()}}
    path, new = into / NAME, into / f"{NAME}.new"
    with new.open("wb") as out:
        out.write(MAGIC + json.dumps(head).encode() + b"\n")
        for blob in blobs.values():
            out.write(blob)
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
    folder = os.open(into, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checkpoint(into: Path) -> tuple[dict[str, Any], dict[str, bytes]] | None:
    """
    The last checkpoint; None if there is none.

    Raises:
        DigestError: The file is something else.
    """
    try:
        data = (into / NAME).read_bytes()
    except FileNotFoundError:
        return None
    try:
        told, blobs, end = _parts(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DigestError(f"{into / NAME} is no digest ({error!r})") from error
    if end != len(data):
        raise DigestError(f"{into / NAME} is no digest: expected {end:,} bytes, got {len(data):,}")
    return told, blobs


def _parts(data: bytes) -> tuple[dict[str, Any], dict[str, bytes], int]:
    """The state, the blobs, and where they end."""
    end = data.index(b"\n", data.index(MAGIC) + len(MAGIC)) + 1
    head = json.loads(data[len(MAGIC) : end])
    blobs = {}
    for name, size in head["blobs"].items():
        blobs[name] = data[end : end + size]
        end += size
    return head["told"], blobs, end
