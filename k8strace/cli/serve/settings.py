"""Makes the parts of a receiver from arguments. Errors in arguments are raised before anything is opened."""

from __future__ import annotations

import argparse
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from k8strace.cli.exits import UsageError
from k8strace.receiver.intake.identity import Identity, IdentityError, ServerTls, Tokens
from k8strace.receiver.intake.limits import Limits
from k8strace.receiver.journal.backlog import StoredBatch, backlog
from k8strace.receiver.journal.recovery import Recovered
from k8strace.receiver.journal.writer import Journal
from k8strace.receiver.serving import Places, Trust, Window
from k8strace.receiver.transports.addresses import Address, AddressError, check_exposure, parse_addresses
from k8strace.rules import read_rules
from k8strace.stream import RequestStream, StreamSettings

if TYPE_CHECKING:
    from k8strace.query import Held
    from k8strace.requests import Requests

__all__ = [
    "backlog_of",
    "held_of",
    "journal_of",
    "limits_of",
    "places_of",
    "stream_of",
    "trust_of",
    "warnings_of",
    "windows_of",
]


Made = TypeVar("Made")

HOLD_SPANS: Final = 200_000
"""Spans held for readers by default, and read from the store, at most."""
SPAN_BYTES: Final = 400
ZSTD_SPAN_BYTES: Final = 65
"""About how many bytes a span has in the store."""

OPTIONS: Final = {
    "request_bytes": "--max-request-bytes",
    "in_flight_bytes": "--budget-bytes",
    "max_bytes": "--max-held-bytes",
    "max_spans": "--max-spans",
    "segment_bytes": "--segment-bytes",
    "segment_age_s": "--segment-age",
    "retain_bytes": "--retain-bytes",
    "retain_age_s": "--retain-age",
}
"""Setting → the option that sets it, for errors."""


def places_of(asked: argparse.Namespace) -> Places:
    """
    The addresses to listen on.

    Raises:
        UsageError: An address is not valid, or is open to the network without protection.
    """
    try:
        places = Places(*(_addresses(asked, kind) for kind in ("grpc", "http", "metrics")))
        readers = [*_reading(asked.query), *_reading(asked.query_grpc)]
        everywhere = [*places.grpc, *places.http, *places.metrics, *readers]
        check_exposure(everywhere, tls=asked.tls_cert is not None, insecure_network=asked.insecure_network)
    except AddressError as error:
        raise UsageError(str(error)) from None
    if not places.grpc and not places.http:
        raise UsageError("expected an address for OTLP, got --grpc-listen off and --http-listen off")
    return places


def held_of(asked: argparse.Namespace) -> Held | None:
    """
    The requests held for the page and for queries; None without either.

    Raises:
        UsageError: `--hold-spans` without a page or queries.
    """
    if not asked.page and not asked.query and not asked.query_grpc:
        if asked.hold_spans is not None:
            raise UsageError("expected --page, --query or --query-grpc with --hold-spans")
        return None
    from k8strace.query import Held

    return Held(_hold_spans(asked))


def _hold_spans(asked: argparse.Namespace) -> int:
    return HOLD_SPANS if asked.hold_spans is None else int(asked.hold_spans)


def windows_of(asked: argparse.Namespace, held: Held | None) -> list[Window]:
    """
    Access to the held requests for readers.

    Raises:
        UsageError: Other machines could read without a token, or the token cannot be read.
    """
    http, rpc = _reading(asked.query), _reading(asked.query_grpc)
    beyond = [address for address in (*http, *rpc) if not address.local]
    if beyond and asked.query_token_file is None:
        raise UsageError(f"expected --query-token-file with {beyond[0]}: who may read sees all spans")
    if held is None or not (http or rpc):
        if asked.query_token_file is not None:
            raise UsageError("expected --query or --query-grpc with --query-token-file")
        return []
    from k8strace.query.jaeger import query_app, storage_handler
    from k8strace.query.stored import Behind
    from k8strace.query.traces import Traces

    traces, admits = Traces(Behind(held, _stored(asked))), _readers(asked).admits
    return [
        Window("query", http, application=query_app(traces, admits)),
        Window("query-grpc", rpc, handlers=storage_handler(traces, admits) if rpc else ()),
    ]


def _stored(asked: argparse.Namespace) -> Sequence[Requests]:
    """The newest requests that the store has from before the start: about as many spans as are held."""
    from k8strace.query import Held
    from k8strace.query.stored import Stored

    if asked.store is None:
        return []
    size = _hold_spans(asked) * (ZSTD_SPAN_BYTES if asked.store_zstd else SPAN_BYTES)
    files = Stored(
        asked.store, Held(), most_bytes=size, taxonomy=read_rules(*asked.rules), apiserver=asked.apiserver
    )
    return files.populations()


def _readers(asked: argparse.Namespace) -> Identity:
    try:
        return Identity(None if asked.query_token_file is None else Tokens.from_file(asked.query_token_file))
    except IdentityError as error:
        raise UsageError(str(error)) from None


def _reading(texts: Sequence[str]) -> list[Address]:
    return list(dict.fromkeys(address for text in texts for address in parse_addresses(text)))


def _addresses(asked: argparse.Namespace, kind: str) -> list[Address]:
    texts = getattr(asked, f"{kind}_listen") or [getattr(asked, f"{kind}_default")]
    return _reading(texts)


def trust_of(asked: argparse.Namespace) -> Trust:
    """
    Who may send.

    Raises:
        UsageError: A file cannot be read, or options for TLS are incomplete.
    """
    if (asked.tls_cert is None) != (asked.tls_key is None):
        raise UsageError("expected --tls-cert and --tls-key together, got one of them")
    if asked.tls_cert is None and (asked.client_ca or asked.client_name):
        raise UsageError("expected --tls-cert and --tls-key with --client-ca and --client-name")
    try:
        hosts = frozenset(name.lower() for name in asked.allow_host or ())
        return Trust(_tls(asked), _tokens(asked), hosts)
    except IdentityError as error:
        raise UsageError(str(error)) from None


def _tls(asked: argparse.Namespace) -> ServerTls | None:
    if asked.tls_cert is None:
        return None
    return ServerTls(asked.tls_cert, asked.tls_key, client_ca=asked.client_ca, client_names=asked.client_name)


def _tokens(asked: argparse.Namespace) -> Tokens | None:
    if asked.token_file is not None:
        return Tokens.from_file(asked.token_file)
    return Tokens.from_environment(asked.token_env) if asked.token_env else None


def warnings_of(asked: argparse.Namespace, places: Places, trust: Trust) -> list[str]:
    """Warnings about settings that are dangerous."""
    readers = [*_reading(asked.query), *_reading(asked.query_grpc)]
    everywhere = [*places.grpc, *places.http, *places.metrics, *readers]
    open_plain = [address for address in everywhere if not address.local and trust.tls is None]
    told = [
        f"INSECURE: {address} is open to the network in plain text: anybody there can read spans and send false ones"
        for address in open_plain
    ]
    otlp = {*places.grpc, *places.http}
    if trust.tokens is not None and otlp.intersection(open_plain):
        told.append("INSECURE: tokens travel in plain text: anyone who sees one can use it")
    if any(address in open_plain for address in readers):
        told.append("INSECURE: the tokens of readers travel in plain text: anyone who sees one can use it")
    secret = [path for path in (asked.token_file, asked.query_token_file, asked.tls_key) if path is not None]
    return told + [
        f"INSECURE: {path} can be read by others than its owner" for path in secret if _is_shared(path)
    ]


def backlog_of(
    journal: Journal | None, stream: RequestStream, on_damage: Callable[[Recovered], object]
) -> Iterable[StoredBatch]:
    """Batches that the last run stored and may not have emitted."""
    if journal is None:
        return ()
    waits = stream.settings
    return backlog(
        journal.directory,
        window_s=waits.window_ns / 1e9,
        max_age_s=waits.max_age_ns / 1e9,
        most_bytes=waits.max_bytes,
        on_damage=on_damage,
    )


def _is_shared(path: Path) -> bool:
    """Whether others than owner and group may read it. The group may: Kubernetes mounts secrets that way."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def limits_of(asked: argparse.Namespace) -> Limits:
    """
    The limits of a receiver.

    Raises:
        UsageError: The limits contradict each other.
    """
    given = {"request_bytes": asked.max_request_bytes, "in_flight_bytes": asked.budget_bytes}
    return _made(Limits, {name: value for name, value in given.items() if value is not None})


def stream_of(asked: argparse.Namespace) -> RequestStream:
    """
    The stream that joins requests.

    Raises:
        UsageError: A setting is out of range.
        RulesError: A file of rules is invalid.
    """
    window_ns = None if asked.window is None else round(asked.window * 1e9)
    given = {"window_ns": window_ns, "max_spans": asked.max_spans, "max_bytes": asked.max_held_bytes}
    named = {name: value for name, value in given.items() if value is not None}
    settings = _made(StreamSettings, named)
    return RequestStream(settings, taxonomy=read_rules(*asked.rules), apiserver=asked.apiserver)


def _made(kind: Callable[..., Made], settings: dict[str, Any]) -> Made:
    try:
        return kind(**settings)
    except ValueError as error:
        told = re.sub(r"\w+", lambda word: OPTIONS.get(word[0], word[0]), str(error))
        raise UsageError(told) from None


def journal_of(asked: argparse.Namespace, on_trouble: Callable[[str], object]) -> Journal | None:
    """
    The journal of batches; None without `--store`.

    Raises:
        UsageError: A setting is out of range, or there are options of storing without `--store`.
        UnavailableError: The folder cannot be used, or another process uses it.
        MissingExtraError: zstandard is not installed.
    """
    given = {"segment_bytes": asked.segment_bytes, "segment_age_s": asked.segment_age}
    given = {name: value for name, value in given.items() if value is not None}
    if asked.store is None:
        if given or asked.store_zstd:
            raise UsageError("expected --store DIR with options about what is stored")
        return None
    settings = {
        "retain_bytes": asked.retain_bytes,
        "retain_age_s": asked.retain_age,
        "compression": "zstd" if asked.store_zstd else "none",
        "on_trouble": on_trouble,
        **given,
    }
    return _made(lambda **named: Journal(asked.store, **named), settings)
