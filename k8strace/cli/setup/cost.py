"""`k8strace setup cost`: how many requests an apiserver serves, and how much sampling them would bring."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8strace.cli.numbers import positive
from k8strace.cli.options import Commands, add_command
from k8strace.cli.outputs import say, write_json
from k8strace.cli.setup.given import CODES, add_caller, caller_of, telling
from k8strace.setup.versions import SetupError

if TYPE_CHECKING:
    from k8strace.setup.cost import Cost, Measured

__all__ = ["add_cost"]

NEWEST: Final = "1.37"
UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def add_cost(kinds: Commands) -> None:
    """Adds the command."""
    command = add_command(
        kinds,
        "cost",
        telling(_cost),
        "count the requests of a kube-apiserver, and estimate spans and bytes for each sampling rate",
        "  k8strace setup cost --server https://10.0.0.1:6443 --ca-file ca.crt --token-file token\n"
        "  kubectl get --raw /metrics > before; sleep 60; kubectl get --raw /metrics > after\n"
        "  k8strace setup cost --before before --after after --seconds 60\n",
        CODES,
    )
    command.add_argument("--server", metavar="URL", help="kube-apiserver: https://host:port")
    add_caller(command)
    command.add_argument("--before", type=Path, metavar="FILE", help="its /metrics, fetched by other means")
    command.add_argument("--after", type=Path, metavar="FILE", help="the same, later")
    command.add_argument(
        "--seconds",
        type=positive,
        default=30.0,
        metavar="SECONDS",
        help="how long to count, or the time between the files (default 30)",
    )
    command.add_argument("--k8s", metavar="VERSION", help="Kubernetes version (default: as the server says)")
    command.add_argument("--json", action="store_true", help="for programs")


def _cost(asked: argparse.Namespace) -> None:
    from k8strace.setup import versions
    from k8strace.setup.cost import costs

    seen, said = _seen(asked)
    version = versions.kubernetes(asked.k8s or said or NEWEST)
    rows = list(costs(seen, version))
    if asked.json:
        record = {
            "version": version.name,
            "seconds": seen.seconds,
            "requests_per_second": seen.per_second,
            "verbs": seen.verbs,
            "rates": [asdict(row) for row in rows],
        }
        write_json([record])
    else:
        say(_lines(seen, rows, version.name, version.spans_per_request))


def _seen(asked: argparse.Namespace) -> tuple[Measured, str | None]:
    """The measured rates, and the server's own version."""
    from k8strace.setup.asking import metrics_of, version_of
    from k8strace.setup.cost import counted, measured

    files = [path for path in (asked.before, asked.after) if path is not None]
    if bool(asked.server) == bool(files) or len(files) == 1:
        raise SetupError("expected --server, or --before and --after")
    if files:
        before, after = (counted(_lines_of(path)) for path in files)
        return measured(before, after, asked.seconds), None
    to = caller_of(asked)
    first = counted(metrics_of(to))
    began = time.monotonic()
    time.sleep(asked.seconds)
    second = counted(metrics_of(to))
    return measured(first, second, time.monotonic() - began), version_of(to)


def _lines_of(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None


def _lines(seen: Measured, rows: list[Cost], version: str, spans: int) -> Iterator[str]:
    busiest = ", ".join(f"{verb or '(no verb)'} {rate:,.1f}" for verb, rate in [*seen.verbs.items()][:4])
    yield f"{seen.per_second:,.1f} requests a second over {seen.seconds:,.0f} s: {busiest or 'none'}"
    yield f"Kubernetes {version}: about {spans} spans a request, etcd's included"
    yield ""
    yield "rate per million  requests/s    spans/s     wire/s  store/day  with zstd"
    for row in rows:
        yield (
            f"{row.rate:>16,}  {row.requests:>10,.2f}  {row.spans:>9,.1f}  {_bytes(row.wire_bytes):>9}"
            f"  {_bytes(row.stored_bytes_a_day):>9}  {_bytes(row.compressed_bytes_a_day):>9}"
        )


def _bytes(count: float) -> str:
    for unit in UNITS:
        if count < 1_000 or unit == UNITS[-1]:
            break
        count /= 1_024
    return f"{count:,.0f} {unit}" if count >= 10 or unit == "B" else f"{count:,.1f} {unit}"
