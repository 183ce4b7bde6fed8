"""Output of commands: lines that fit the terminal and its encoding, or JSON."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from k8strace.cli.numbers import LEAST_WIDTH
from k8strace.cli.options import PIPED_WIDTH

if TYPE_CHECKING:
    from rich.text import Text

    from k8strace.views.text import Look

__all__ = ["look_of", "say", "write_json", "write_text"]


def look_of(asked: argparse.Namespace) -> Look:
    """Width and colours, from the options and the output."""
    from k8strace.views.text import Look

    at_terminal = sys.stdout.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    colour = asked.color == "always" or (asked.color == "auto" and at_terminal and not plain)
    # `COLUMNS`, if it is exported, then the terminal.
    known = at_terminal or os.environ.get("COLUMNS", "").isdecimal()
    own = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if known else PIPED_WIDTH
    return Look(width=asked.width or max(own, LEAST_WIDTH), colour=colour)


def write_text(lines: Iterable[Text], look: Look) -> None:
    """Writes lines of a view, in ASCII if the output cannot encode more."""
    from k8strace.views.text import render, to_ascii

    text = render(lines, look)
    encoding = sys.stdout.encoding or "ascii"
    if not encoding.lower().replace("-", "").startswith("utf"):
        text = to_ascii(text).encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(text)


def write_json(records: Iterable[Any]) -> None:
    """Writes one object a line, in ASCII, which is safe for terminals and pipes. Written a thousand at a time."""
    encode = json.JSONEncoder(ensure_ascii=True, check_circular=False).encode
    records = iter(records)
    while lines := [encode(record) for record in islice(records, 1000)]:
        sys.stdout.write("\n".join(lines) + "\n")


def say(lines: Iterable[str]) -> None:
    """Writes plain lines without control characters."""
    from k8strace.views.text import clean

    sys.stdout.writelines(clean(line, 4000) + "\n" for line in lines)
