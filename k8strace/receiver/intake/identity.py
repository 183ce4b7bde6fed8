"""Who may send: tokens, client certificates, and the server's own certificate; all reloaded when files change."""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from k8strace.exceptions import K8straceError

if TYPE_CHECKING:
    import grpc

__all__ = ["Identity", "IdentityError", "Secret", "ServerTls", "Tokens"]

SHORTEST_TOKEN: Final = 16
T = TypeVar("T")


class IdentityError(K8straceError, ValueError):
    """Tokens or certificates cannot be used. The message says which file and why, and never what is in it."""


class Secret:
    """
    Text that is kept out of reprs, logs, tracebacks with locals, and pickles.

    Examples:
        >>> from k8strace.receiver import Secret
        >>> secret = Secret("correct horse battery staple")
        >>> print(secret, [secret], f"{secret}")
        *** [Secret('***')] ***
        >>> secret.matches(b"correct horse battery stable")
        False
    """

    __slots__ = ("_digest",)

    def __init__(self, text: str | bytes) -> None:
        # Only digests are kept and compared: they have equal lengths, whatever was sent.
        self._digest = hashlib.sha256(text.encode() if isinstance(text, str) else text).digest()

    def matches(self, sent: bytes) -> bool:
        """Whether this is the text, compared in constant time."""
        return hmac.compare_digest(self._digest, hashlib.sha256(sent).digest())

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


# ---- files that change ----------------------------------------------------------------------------


class _Watched(Generic[T]):
    """A value that is read from files, and again when one of them changes."""

    def __init__(self, paths: Iterable[Path], read: Callable[[], T]) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._lock = threading.Lock()
        self._state = self._look()
        self._value = read()

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_state(path) for path in self._paths)

    def value(self) -> T:
        """The value of the current files. Raises what the reader raises if they are broken."""
        state = self._look()
        with self._lock:
            if state != self._state:
                self._value = self._read()
                self._state = state
            return self._value


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


# ---- tokens ---------------------------------------------------------------------------------------


class Tokens:
    """
    The accepted bearer tokens: several, so that a new one can be issued before an old one is removed.

    Examples:
        >>> from k8strace.receiver import Tokens
        >>> tokens = Tokens(["a-token-of-one-cluster", "a-token-of-another"])
        >>> tokens.accept("Bearer a-token-of-another"), tokens.accept("Bearer a-token-of-nobody"), tokens.accept(None)
        (True, False, False)
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        secrets = _secrets(tokens, "tokens")
        self._current: Callable[[], tuple[Secret, ...]] = lambda: secrets

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Tokens:
        """
        One token a line; empty lines and lines with `#` in front do not count.

        The file is read again when it changes. While it is missing or holds no token, every request is refused.

        Raises:
            IdentityError: The file cannot be read now, or holds no token or one that is too short.
        """
        file = Path(path)
        self = cls.__new__(cls)
        watched = _Watched([file], lambda: _secrets(_token_lines(file), str(file)))
        self._current = watched.value
        return self

    @classmethod
    def from_environment(cls, name: str) -> Tokens:
        """
        Tokens in an environment variable, with white space or commas between them.

        Raises:
            IdentityError: The variable is not set, or holds no token or one that is too short.
        """
        return cls(
            _named(os.environ.get(name, "").replace(",", " ").split(), f"the environment variable {name}")
        )

    def accept(self, authorization: str | bytes | None) -> bool:
        """Whether this `Authorization` header has an accepted token. All tokens are always compared."""
        try:
            secrets = self._current()
        except IdentityError:
            return False
        sent = _bearer(authorization)
        found = [secret.matches(sent) for secret in secrets]
        return any(found)

    def __repr__(self) -> str:
        return "Tokens(***)"


def _token_lines(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        # The error of a wrong character would show the text around it.
        raise IdentityError(f"cannot read tokens from {file}: {type(error).__name__}") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _named(tokens: list[str], where: str) -> list[str]:
    if not tokens:
        raise IdentityError(f"expected at least one token in {where}, got none")
    return tokens


def _secrets(tokens: Iterable[str], where: str) -> tuple[Secret, ...]:
    texts = _named(list(tokens), where)
    if any(len(text) < SHORTEST_TOKEN for text in texts):
        raise IdentityError(
            f"expected tokens of at least {SHORTEST_TOKEN} characters in {where}, got a shorter one"
        )
    return tuple(map(Secret, texts))


def _bearer(authorization: str | bytes | None) -> bytes:
    """The token in a header; empty if there is none."""
    header = authorization or b""
    raw = header.encode("utf-8", "surrogateescape") if isinstance(header, str) else header
    scheme, _, token = raw.strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


# ---- who ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may send. None means not required; everything required must be present."""

    tokens: Tokens | None = None
    client_names: frozenset[str] | None = None
    """Names that a client's certificate may have: one of its subject alternative names, or its common name."""

    def admits(self, authorization: str | bytes | None, names: Collection[str] = ()) -> bool:
        """Whether the sender of this header and certificate may send spans."""
        by_token = self.tokens is None or self.tokens.accept(authorization)
        by_name = self.client_names is None or not self.client_names.isdisjoint(names)
        return by_token and by_name


# ---- TLS ------------------------------------------------------------------------------------------


class ServerTls:
    """
    The server's certificate, and whose certificates clients must show. Files are read again when they change.

    Args:
        certificate: PEM file with the server's certificate chain.
        key: PEM file with its private key.
        client_ca: PEM file with the authorities that sign clients' certificates; None asks clients for none.
        client_names: Names that a client's certificate may have; None lets in all that `client_ca` signed.

    Raises:
        IdentityError: A file cannot be read, or certificate and key do not fit; names without `client_ca`.
    """

    def __init__(
        self,
        certificate: str | os.PathLike[str],
        key: str | os.PathLike[str],
        *,
        client_ca: str | os.PathLike[str] | None = None,
        client_names: Iterable[str] | None = None,
    ) -> None:
        self._certificate, self._key = Path(certificate), Path(key)
        self._client_ca = None if client_ca is None else Path(client_ca)
        self.client_names = None if client_names is None else frozenset(client_names)
        if self.client_names is not None and self._client_ca is None:
            raise IdentityError(
                "expected client_ca with client_names: names of certificates without a signature prove nothing"
            )
        files = [path for path in (self._certificate, self._key, self._client_ca) if path]
        self._context = _Watched(files, self._load)
        self._pem = _Watched(files, self._read)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._certificate, self._key)
            if self._client_ca:
                context.load_verify_locations(self._client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            reason = (
                getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
            )
            raise IdentityError(f"cannot use {self._certificate}, {self._key}: {reason}") from None
        return context

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        self._load()  # gRPC would find out only at the first handshake
        roots = None if self._client_ca is None else self._client_ca.read_bytes()
        return self._key.read_bytes(), self._certificate.read_bytes(), roots

    def ssl_context(self) -> ssl.SSLContext:
        """
        A context for any server of asyncio or sockets: TLS 1.2 or newer.

        Files that changed count from the next handshake on; while they are broken, the last sound ones do.
        Clients whose certificate has no allowed name fail in the handshake.
        """
        context = self._load()

        def renew(connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
            try:
                connection.context = self._context.value()
            except IdentityError:
                return  # half of the files are new: the next handshake looks again

        context.sni_callback = renew
        if self.client_names is not None:
            context.sslobject_class = _checking(self.client_names)
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """The same for a gRPC server. Names are not checked here: give `client_names` to an `Identity`."""
        import grpc

        def configuration() -> Any:
            key, chain, roots = self._pem.value()
            return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)

        def renewed() -> Any:
            try:
                return configuration()
            except (IdentityError, OSError):
                return None  # keeps the last sound one

        return grpc.dynamic_ssl_server_credentials(
            configuration(), renewed, require_client_authentication=self._client_ca is not None
        )

    def __repr__(self) -> str:
        return f"ServerTls({str(self._certificate)!r})"


def certificate_names(certificate: Any) -> set[str]:
    """All names in what `getpeercert` gives: subject alternative names and common names."""
    alternative = {value for _, value in certificate.get("subjectAltName", ())}
    common = {value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"}
    return alternative | common


def _checking(allowed: frozenset[str]) -> type[ssl.SSLObject]:
    class Checking(ssl.SSLObject):
        """Ends the handshake of clients whose certificate has another name."""

        def do_handshake(self) -> None:
            super().do_handshake()
            if allowed.isdisjoint(certificate_names(self.getpeercert() or {})):
                raise ssl.SSLCertVerificationError("the client's certificate has no name that is allowed")

    return Checking
