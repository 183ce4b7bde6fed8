"""The page as a file: its options, and writing it."""

from __future__ import annotations

import argparse
import math

from k8strace import Requests

__all__ = ["add_page", "write_page"]


def add_page(command: argparse.ArgumentParser) -> None:
    """Options of the page."""
    group = command.add_argument_group("page")
    group.add_argument("--html", metavar="OUT", help="write the page to this file, for any browser, offline")
    group.add_argument(
        "--redact", action="store_true", help="names of objects, hosts, clients and webhooks as hashes"
    )
    group.add_argument(
        "--max-mb",
        type=_megabytes,
        default=10.0,
        metavar="N",
        help="size of the page, about: it has as many call trees as fit (default 10)",
    )


def _megabytes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= 1_000:
        raise argparse.ArgumentTypeError(f"expected megabytes, above 0 and at most 1000, got {text!r}")
    return number


def write_page(requests: Requests, asked: argparse.Namespace) -> None:
    """Writes the page of these requests to the file of `--html`."""
    requests.to_html(asked.html, redact=asked.redact, max_mb=asked.max_mb)
