"""The arguments of `k8strace serve`, grouped by topic."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from k8strace.cli.exits import FAILED, INTERRUPTED, OK, exit_codes
from k8strace.cli.numbers import above_zero, age, size

__all__ = ["add_options"]

DESCRIPTION: Final = """\
Receives OTLP spans of kube-apiserver and etcd, joins them as they come, and shows where the time
goes. Without options it listens on this machine only, stores nothing, and shows a live table.
"""
EPILOG: Final = """\
examples:
  k8strace serve
  k8strace serve --store /var/lib/k8strace
  k8strace serve --grpc-listen unix:/run/k8strace/otlp.sock --http-listen off
  k8strace serve --grpc-listen 10.0.0.7:4317 --tls-cert tls.crt --tls-key tls.key --client-ca ca.crt
  k8strace serve --json > requests.jsonl
  k8strace serve --page --store /var/lib/k8strace

"""
PAGE: Final = "127.0.0.1:9465"
CODES: Final = {
    OK: "stopped by a signal, and everything that was acknowledged is joined",
    FAILED: "an address or the store cannot be used, or not everything could be joined in time",
    INTERRUPTED: "stopped at once by a second signal",
}


def _or_off(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == "off" else kind(text)


def _name(text: str, wanted: str = "a name") -> str:
    """An empty value comes from an unset variable, and must not count as a missing option."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return text


def _path(text: str) -> Path:
    return Path(_name(text, "a path"))


def _metrics_url(text: str) -> str:
    from k8strace.receiver.metrics.pushing import metrics_url

    try:
        return metrics_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_options(commands: argparse._SubParsersAction[Any], run: Callable[[argparse.Namespace], int]) -> None:
    """Adds `serve`; `run` is called with the arguments and returns the exit code."""
    command = commands.add_parser(
        "serve",
        help="receive spans, join them as they come, show where the time goes",
        description=DESCRIPTION,
        epilog=EPILOG + exit_codes(CODES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="k8strace serve [OPTION…]",
    )
    command.set_defaults(run=run)
    for add in (_listening, _reading, _storing, _joining, _limiting, _trusting, _showing):
        add(command)


def _listening(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "listening",
        "ADDRESS is HOST:PORT, [HOST]:PORT, unix:/PATH (only for the socket's owner), or off.\n"
        "localhost is 127.0.0.1, and [::1] where there is one.",
    )
    for name, default, what in (
        ("grpc", "localhost:4317", "OTLP over gRPC"),
        ("http", "localhost:4318", "OTLP over HTTP, protobuf and JSON, at /v1/traces"),
        ("metrics", "127.0.0.1:9464", "/metrics, /healthz and /readyz"),
    ):
        group.add_argument(
            f"--{name}-listen",
            action="append",
            metavar="ADDRESS",
            help=f"{what}; repeat for more (default {default})",
        )
        command.set_defaults(**{f"{name}_default": default})
    group.add_argument(
        "--metrics-to",
        type=_metrics_url,
        metavar="URL",
        help="post durations of requests by component as OTLP metrics, such as to http://localhost:4318",
    )


def _reading(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "reading",
        "Other tools read the held spans. Readers see all of them: beyond this machine they need a token.",
    )
    for name, port, what in (
        ("query", 16686, "Jaeger's HTTP API, for Grafana's data source and Jaeger's page"),
        ("query-grpc", 17271, "Jaeger's remote storage, version 2"),
    ):
        group.add_argument(
            f"--{name}",
            action="append",
            nargs="?",
            const=f"localhost:{port}",
            default=[],
            metavar="ADDRESS",
            help=f"{what}; repeat for more (off by default; without ADDRESS localhost:{port})",
        )
    group.add_argument(
        "--query-token-file",
        type=_path,
        metavar="FILE",
        help="bearer tokens of readers, one a line; read again when the file changes",
    )
    group.add_argument(
        "--hold-spans",
        type=above_zero,
        metavar="N",
        help="the latest spans held for readers and for --page, at most (default 200000, about 100 MiB)",
    )


def _storing(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("storing", "Without --store, spans are in memory only.")
    group.add_argument(
        "--store",
        type=_path,
        metavar="DIR",
        help="write and sync every batch here before it is acknowledged; `k8strace report DIR/*` reads it",
    )
    group.add_argument("--store-zstd", action="store_true", help="compress stored batches")
    group.add_argument(
        "--segment-bytes", type=size, metavar="SIZE", help="begin a new file at this size (default 64MiB)"
    )
    group.add_argument(
        "--segment-age", type=age, metavar="TIME", help="begin a new file after this time (default 1h)"
    )
    group.add_argument(
        "--retain-bytes",
        type=_or_off(size),
        default="8GiB",
        metavar="SIZE",
        help="remove the oldest files above this size; off for never (default 8GiB)",
    )
    group.add_argument(
        "--retain-age",
        type=_or_off(age),
        default="off",
        metavar="TIME",
        help="remove files older than this; off for never (default off)",
    )


def _joining(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("joining")
    group.add_argument(
        "--window", type=age, metavar="TIME", help="how long a trace waits for late spans (default 10s)"
    )
    group.add_argument(
        "--max-spans",
        type=above_zero,
        metavar="N",
        help="spans held, at most; above that the oldest traces are evicted (default 1000000)",
    )
    group.add_argument(
        "--max-held-bytes",
        type=size,
        metavar="SIZE",
        help="the same in bytes of memory, estimated (default 1GiB)",
    )
    group.add_argument(
        "--apiserver",
        action="append",
        type=_name,
        metavar="NAME",
        help="service.name of the API servers; repeat for more (default: apiserver, and services that look like one)",
    )
    group.add_argument(
        "--rules",
        action="append",
        type=_path,
        default=[],
        metavar="FILE",
        help="TOML with your own rules, which come first; repeat for more",
    )


def _limiting(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "limits", "Requests above a limit are refused and counted, and the sender is told."
    )
    group.add_argument(
        "--max-request-bytes", type=size, metavar="SIZE", help="one request, inflated (default 64MiB)"
    )
    group.add_argument(
        "--budget-bytes",
        type=size,
        metavar="SIZE",
        help="all requests being worked on together, inflated (default 256MiB)",
    )


def _trusting(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "identity", "Beyond this machine TLS or --insecure-network is required. Tokens are never arguments."
    )
    token = group.add_mutually_exclusive_group()
    token.add_argument(
        "--token-file",
        type=_path,
        metavar="FILE",
        help="bearer tokens, one a line; read again when the file changes",
    )
    token.add_argument(
        "--token-env", type=_name, metavar="NAME", help="bearer tokens in an environment variable"
    )
    group.add_argument("--tls-cert", type=_path, metavar="FILE", help="certificate chain, PEM")
    group.add_argument("--tls-key", type=_path, metavar="FILE", help="its private key, PEM")
    group.add_argument(
        "--client-ca", type=_path, metavar="FILE", help="certificate authority of clients, PEM"
    )
    group.add_argument(
        "--client-name",
        action="append",
        type=_name,
        metavar="NAME",
        help="an accepted name in clients' certificates; repeat for more (default: any that --client-ca signed)",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        type=_name,
        metavar="NAME",
        help="an accepted Host of HTTP on this machine, beside IP addresses and localhost; repeat for more",
    )
    group.add_argument(
        "--insecure-network", action="store_true", help="listen beyond this machine in plain text"
    )


def _showing(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("showing")
    group.add_argument(
        "--json", action="store_true", help="every finished request as one line on standard output"
    )
    group.add_argument(
        "--no-live", action="store_true", help="a line every 10 s instead of the table, also at a terminal"
    )
    group.add_argument(
        "--page",
        nargs="?",
        const=PAGE,
        metavar="ADDRESS",
        help="also a page in a browser, on this machine only; its address, with a token, is in the log "
        f"(default {PAGE})",
    )
    group.add_argument("--quiet", action="store_true", help="neither table nor lines")
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="format of the log on stderr (default text)",
    )
    group.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours of the table (default auto: unless NO_COLOR is set)",
    )
