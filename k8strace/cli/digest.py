"""`k8strace digest`: files of any size, summed up in bounded memory."""

from __future__ import annotations

import argparse
from pathlib import Path

from k8strace import Digest, DigestSettings, digest, read_rules
from k8strace.cli.exits import UsageError
from k8strace.cli.inputs import progress
from k8strace.cli.numbers import above_zero, time_ns
from k8strace.cli.options import (
    Commands,
    add_by,
    add_command,
    add_format,
    add_joining,
    add_quantiles,
    add_showing,
    add_top,
)
from k8strace.cli.outputs import look_of, write_json, write_text
from k8strace.histograms import KEYS

__all__ = ["add_digest"]


def add_digest(commands: Commands) -> None:
    """Adds the command."""
    command = add_command(
        commands,
        "digest",
        _digest,
        "sum up files larger than memory, by the hour",
        "  k8strace digest '/var/log/traces/*.zst' --into day/\n"
        "  k8strace digest apiserver.jsonl etcd.jsonl --into day/ --by verb,resource,namespace\n"
        "  k8strace digest --into day/            # shows the result again\n"
        "  duckdb -c \"SELECT verb, count(*) FROM 'day/requests/*/*.parquet' GROUP BY verb\"\n",
    )
    command.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="path or quoted pattern; without any, shows what is in the directory",
    )
    command.add_argument(
        "--into",
        required=True,
        metavar="DIR",
        help="checkpoints, and requests as Parquet by the hour; after an interruption the same command resumes",
    )
    add_by(command, ",".join(KEYS), "columns of requests to group by")
    command.set_defaults(by=None)
    add_top(command)
    add_quantiles(command)
    command.add_argument(
        "--window",
        type=time_ns,
        default=DigestSettings().window_ns,
        metavar="TIME",
        help="a trace is counted when no span of it has come for this long (default 30s)",
    )
    command.add_argument(
        "--max-spans",
        type=above_zero,
        default=DigestSettings().max_spans,
        metavar="N",
        help="spans held at most, which bounds the memory: about 1 KiB for each (default 1000000)",
    )
    command.add_argument("--no-rows", action="store_true", help="sums only, no Parquet")
    add_format(command)
    add_joining(command)
    add_showing(command)


def _digest(asked: argparse.Namespace) -> None:
    from k8strace.views.breakdown import Wanted

    if "-" in asked.files:
        raise UsageError("a digest reads files, so that it can resume: no standard input")
    made = _made(asked) if asked.files else _read(asked)
    wanted = Wanted(by=made.histograms.keys, top=asked.top or None, quantiles=asked.quantiles)
    from k8strace.views.digest import digest_lines, digest_record

    if asked.json:
        return write_json([digest_record(made, wanted)])
    look = look_of(asked)
    return write_text(digest_lines(made, look, wanted), look)


def _read(asked: argparse.Namespace) -> Digest:
    made = Digest.read(Path(asked.into))
    if asked.by is not None and asked.by != made.histograms.keys:
        by = ",".join(made.histograms.keys)
        raise UsageError(f"{asked.into} holds sums by {by}: give the files, and another --into, for others")
    return made


def _made(asked: argparse.Namespace) -> Digest:
    settings = DigestSettings(
        by=KEYS if asked.by is None else asked.by,
        window_ns=asked.window,
        max_spans=asked.max_spans,
        rows=not asked.no_rows,
    )
    with progress(asked) as tell:
        try:
            return digest(
                asked.files,
                into=asked.into,
                settings=settings,
                taxonomy=read_rules(*asked.rules),
                apiserver=asked.apiserver,
                format=asked.format,
                progress=tell,
            )
        except KeyError as error:
            raise UsageError(error.args[0]) from error
