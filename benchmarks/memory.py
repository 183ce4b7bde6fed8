"""What it holds: the peak of `scan` as inputs grow, bytes of columns, and one tree against all of them.

Each prints one line of JSON, and is called in a process of its own:

    python benchmarks/memory.py scan FILE COPIES     # peak memory
    python benchmarks/memory.py trees FILE           # CPU time of one request's tree, and of all
    python benchmarks/memory.py columns FILE         # bytes a span of the columns without the wire
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from spent import Spent, alone, of

import k8strace
from k8strace.formats import BATCH_BYTES

TREES = 15
"""How many requests are asked for their tree alone."""

child = partial(alone, __file__)
"""Runs one of the commands above in a process of its own."""


def scan_growth(path: Path) -> dict[str, Any]:
    """Compare the peak memory of a process that scans a file with that at ten times the spans.

    The smaller one is as many copies of the file as fill four pieces, so that a whole piece is held in both.
    Copies are further frames of one zstd stream: one source, however long.
    """
    content = child("columns", path)["content_bytes"]
    copies = -(-4 * BATCH_BYTES // content)
    once, tenfold = (child("scan", path, number) for number in (copies, 10 * copies))
    return {
        "ratio": tenfold["peak_bytes"] / once["peak_bytes"],
        "spent": tenfold["spent"],
        "spans": [once["spans"], tenfold["spans"]],
        "peak_bytes": [once["peak_bytes"], tenfold["peak_bytes"]],
    }


def scan(path: Path, copies: int) -> dict[str, Any]:
    """Scan copies of a file; say what this process held at most."""
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / path.name
        with long.open("wb") as file:
            for _ in range(copies):
                file.write(path.read_bytes())
        before = Spent.now()
        spans = sum(len(piece) for piece in k8strace.scan(long))
        spent = Spent.now().since(before).per(spans)
    return {"spans": spans, "peak_bytes": peak(), "spent": spent}


def peak() -> int:
    """Peak of this process: from /proc, since Linux counts the parent's memory at the fork in ru_maxrss."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def trees(path: Path) -> dict[str, Any]:
    """Make the trees of some requests, one at a time and each for the first time; then all of them."""
    requests = k8strace.join(k8strace.read(path))
    _ = requests[0].tree  # imports networkx
    some = [requests[len(requests) * place // (TREES + 1)] for place in range(1, TREES + 1)]
    one = []
    for request in some:
        begin = time.process_time_ns()
        _ = request.tree
        one.append(time.process_time_ns() - begin)

    def every() -> None:
        for request in requests:
            _ = request.tree

    spent = of(every)
    whole = 1e9 * spent.cpu
    return {
        "one_ns": median(one),
        "all_ns": whole,
        "spent": spent.per(len(requests.spans)),
        "requests": len(requests),
        "ratio": median(one) / whole,
    }


def columns(path: Path) -> dict[str, Any]:
    """Say what the columns hold, and how long the messages are that they were made of."""
    spans = k8strace.read(path)
    content = sum(source.bytes for source in spans.sources)
    return {"bytes_per_span": spans.nbytes[0] / len(spans), "content_bytes": content, "spans": len(spans)}


def main(what: str, path: str, *copies: str) -> None:
    """Do it here and print it."""
    commands = {"scan": scan, "trees": trees, "columns": columns}
    print(json.dumps(commands[what](Path(path), *map(int, copies))))


if __name__ == "__main__":
    main(*sys.argv[1:])
