"""The arguments of `k8strace serve`, grouped by topic, and what they may be."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

__all__ = ["add_options", "age", "size"]

DESCRIPTION: Final = """\
Receives OTLP spans of kube-apiserver and etcd, joins them as they come, and says where the time
goes. Without any option it listens on this machine only, keeps nothing, and shows a live table.
"""
EPILOG: Final = """\
examples:
  k8strace serve
  k8strace serve --store /var/lib/k8strace
  k8strace serve --grpc-listen unix:/run/k8strace/otlp.sock --http-listen off
  k8strace serve --grpc-listen 10.0.0.7:4317 --tls-cert tls.crt --tls-key tls.key --client-ca ca.crt
  k8strace serve --json > requests.jsonl

exit codes:
  0    stopped by a signal, and everything that was acknowledged is joined
  1    an address or the store cannot be used, or not everything could be joined in time
  2    wrong usage
  130  stopped at once by a second signal
"""

_SIZES: Final = {"": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZES_SI: Final = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_LARGEST: Final = 1 << 60
"""Of sizes, in bytes: no disk is larger."""
_YEARS: Final = 100
"""The longest time."""
_AGES: Final = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def size(text: str) -> int:
    """
    A number of bytes, with a unit or without.

    Raises:
        argparse.ArgumentTypeError: It is none.

    Examples:
        >>> size("4096"), size("64MiB"), size("8 GiB"), size("1.5GB")
        (4096, 67108864, 8589934592, 1500000000)
    """
    found = _scaled(text, _SIZES | _SIZES_SI, "a size such as 64MiB")
    if found > _LARGEST:
        raise argparse.ArgumentTypeError(f"expected a size of at most {_LARGEST >> 40} TiB, got {text!r}")
    return int(found)


def age(text: str) -> float:
    """
    A time in seconds, with a unit or without.

    Raises:
        argparse.ArgumentTypeError: It is none.

    Examples:
        >>> age("10"), age("1.5s"), age("15min"), age("7d")
        (10.0, 1.5, 900.0, 604800.0)
    """
    found = _scaled(text, _AGES, "a time such as 30s, 15min, 12h or 7d")
    if found > _YEARS * 365.25 * _AGES["d"]:
        raise argparse.ArgumentTypeError(f"expected a time of at most {_YEARS} years, got {text!r}")
    return found


def _scaled(text: str, units: dict[str, Any], wanted: str) -> float:
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([a-z]{0,3})", text.strip().lower())
    if not found or found[2] not in units or not float(found[1]):
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    value: float = float(found[1]) * units[found[2]]
    return value


def _or_off(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text == "off" else kind(text)


def _natural(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text) or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _name(text: str, wanted: str = "a name") -> str:
    """An empty one comes from a variable that is not set, and must not mean that the option was not given."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"expected {wanted}, got {text!r}")
    return text


def _path(text: str) -> Path:
    return Path(_name(text, "a path"))


def add_options(commands: argparse._SubParsersAction[Any], run: Callable[[argparse.Namespace], int]) -> None:
    """Adds `serve`; `run` is given the arguments and returns the exit code."""
    command = commands.add_parser(
        "serve",
        help="receive spans, join them as they come, show where the time goes",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="k8strace serve [OPTION…]",
    )
    command.set_defaults(run=run)
    for add in (_listening, _storing, _joining, _limiting, _trusting, _showing):
        add(command)


def _listening(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "listening",
        "ADDRESS is HOST:PORT, [HOST]:PORT, unix:/PATH (for its owner only), or off.\n"
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


def _storing(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("storing", "Without --store, spans are in memory only.")
    group.add_argument(
        "--store",
        type=_path,
        metavar="DIR",
        help="write and sync every batch here before it is acknowledged; `k8strace report DIR/*` reads it",
    )
    group.add_argument("--store-zstd", action="store_true", help="compress what is stored")
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
        help="remove the oldest files beyond; off for never (default 8GiB)",
    )
    group.add_argument(
        "--retain-age",
        type=_or_off(age),
        default="off",
        metavar="TIME",
        help="remove older files; off for never (default off)",
    )


def _joining(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("joining")
    group.add_argument(
        "--window", type=age, metavar="TIME", help="how long a trace waits for late spans (default 10s)"
    )
    group.add_argument(
        "--max-spans",
        type=_natural,
        metavar="N",
        help="spans that are held; beyond, the oldest traces are given up (default 1000000)",
    )
    group.add_argument(
        "--max-held-bytes", type=size, metavar="SIZE", help="the same in memory, about (default 1GiB)"
    )
    group.add_argument(
        "--apiserver",
        action="append",
        type=_name,
        metavar="NAME",
        help="service.name of the API servers; repeat for more (default: apiserver, and what looks like one)",
    )
    group.add_argument(
        "--rules",
        action="append",
        type=_path,
        default=[],
        metavar="FILE",
        help="TOML with rules of your own, asked first; repeat for more",
    )


def _limiting(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "limits", "More than a limit is refused, counted, and told to the sender."
    )
    group.add_argument(
        "--max-request-bytes", type=size, metavar="SIZE", help="one request, inflated (default 64MiB)"
    )
    group.add_argument(
        "--budget-bytes",
        type=size,
        metavar="SIZE",
        help="requests that are being worked on, all together, inflated (default 256MiB)",
    )


def _trusting(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group(
        "identity", "Beyond this machine, TLS or --insecure-network is needed. Tokens are never arguments."
    )
    token = group.add_mutually_exclusive_group()
    token.add_argument(
        "--token-file",
        type=_path,
        metavar="FILE",
        help="bearer tokens, one a line; read again when it changes",
    )
    token.add_argument(
        "--token-env", type=_name, metavar="NAME", help="bearer tokens in an environment variable"
    )
    group.add_argument("--tls-cert", type=_path, metavar="FILE", help="certificate chain, PEM")
    group.add_argument("--tls-key", type=_path, metavar="FILE", help="its private key, PEM")
    group.add_argument("--client-ca", type=_path, metavar="FILE", help="who signs clients' certificates, PEM")
    group.add_argument(
        "--client-name",
        action="append",
        type=_name,
        metavar="NAME",
        help="a name that clients' certificates may have; repeat for more (default: any that --client-ca signed)",
    )
    group.add_argument(
        "--allow-host",
        action="append",
        type=_name,
        metavar="NAME",
        help="a name that HTTP on this machine may be asked for by, beside IP addresses and localhost; repeat for more",
    )
    group.add_argument(
        "--insecure-network", action="store_true", help="listen beyond this machine in plain text"
    )


def _showing(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("showing")
    group.add_argument(
        "--json", action="store_true", help="every finished request as one line on standard output"
    )
    group.add_argument("--no-live", action="store_true", help="at a terminal too, a line every 10 s")
    group.add_argument("--quiet", action="store_true", help="no table and no such lines")
    group.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="lines on stderr (default text)"
    )
    group.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="colours of the table (default auto: unless NO_COLOR is set)",
    )
