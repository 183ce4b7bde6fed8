"""
Where the receiver listens: addresses as people write them, sockets as the servers take them.

Loopback addresses and unix sockets are open to this machine only. Everything else is the network, where spans are read
and forged by anyone on the way: `check_exposure` says what that needs.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from k8strace.exceptions import K8straceError

__all__ = [
    "Address",
    "AddressError",
    "ListenError",
    "check_exposure",
    "listen_on",
    "make_way",
    "owner_only",
    "parse_addresses",
]

BACKLOG: Final = 1024
"""Connections that may wait in the system's accept queue."""


class AddressError(K8straceError, ValueError):
    """It is no address, or one that may not be listened on. The message says which and why."""


class ListenError(K8straceError):
    """An address that cannot be listened on now: in use, not there, or not ours. The message says which and why."""


class Address(NamedTuple):
    """
    An IP address with a port, or the path of a unix socket.

    Examples:
        >>> parse_addresses("[::1]:4317")[0]
        Address(host='::1', port=4317, path='')
        >>> print(Address("127.0.0.1", 4317), Address("::1", 4317), Address(path="/run/otlp.sock"))
        127.0.0.1:4317 [::1]:4317 unix:/run/otlp.sock
    """

    host: str = ""
    """IPv4 or IPv6 address; empty for a unix socket."""
    port: int = 0
    """0: the system picks a free one."""
    path: str = ""
    """Absolute path of a unix socket; empty for TCP."""

    @property
    def local(self) -> bool:
        """Whether only this machine gets there."""
        return bool(self.path) or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_addresses(text: str) -> list[Address]:
    """
    The addresses that a text stands for: "HOST:PORT", "[HOST]:PORT", "unix:/PATH", or "off" for none.

    "localhost" is 127.0.0.1, and ::1 where this machine has it. Other names are not looked up: what they resolve to
    would decide who gets in.

    Raises:
        AddressError: It is none of these.

    Examples:
        >>> parse_addresses("127.0.0.1:4317"), parse_addresses("unix:/run/otlp.sock"), parse_addresses("off")
        ([Address(host='127.0.0.1', port=4317, path='')], [Address(host='', port=0, path='/run/otlp.sock')], [])
    """
    if text == "off":
        return []
    if text.startswith("unix:"):
        return [_unix(text.removeprefix("unix:"))]
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65_535:
        raise AddressError(f"expected HOST:PORT, [HOST]:PORT, unix:/PATH or off, got {text!r}")
    if host == "localhost":
        hosts = ["127.0.0.1", *(["::1"] if _has_ipv6_loopback() else [])]
        return [Address(each, int(port)) for each in hosts]
    return [Address(_ip(host, text), int(port))]


def _unix(path: str) -> Address:
    # 108 bytes with the final zero on Linux, 104 on other systems.
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > 103:
        raise AddressError(f"expected an absolute path of at most 103 bytes after unix:, got {path!r}")
    return Address(path=path)


def _ip(host: str, text: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        raise AddressError(f"expected an IP address or localhost before the port, got {text!r}") from None
    if found.version == 6 and bare == host:
        raise AddressError(f"expected an IPv6 address in brackets, [{bare}]:PORT, got {text!r}")
    return bare


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def check_exposure(addresses: Iterable[Address], *, tls: bool, insecure_network: bool) -> None:
    """
    Refuses plain text beyond this machine, unless it was asked for.

    Raises:
        AddressError: An address is not local, there is no TLS, and `insecure_network` was not asked for.

    Examples:
        >>> check_exposure(parse_addresses("0.0.0.0:4317"), tls=False, insecure_network=False)
        Traceback (most recent call last):
        k8strace.receiver.transports.addresses.AddressError: 0.0.0.0:4317 is open to the network: ...
    """
    for address in addresses:
        if not (address.local or tls or insecure_network):
            raise AddressError(
                f"{address} is open to the network: give --tls-cert and --tls-key, "
                "or --insecure-network if anybody there may read and send spans"
            )


# ── Sockets ───────────────────────────────────────────────────────────────────────────────────────


def listen_on(address: Address) -> socket.socket:
    """
    A listening socket, not blocking. A unix socket is for its owner only; one without a listener is replaced.

    Raises:
        ListenError: In use, not there, or not allowed.
    """
    if address.path:
        make_way(address)
    kind = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(kind, socket.SOCK_STREAM)
    try:
        if not address.path:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with owner_only():
            listening.bind(address.path or (address.host, address.port))
        listening.listen(BACKLOG)
        listening.setblocking(False)  # noqa: FBT003 - the standard library's own
    except OSError as error:
        listening.close()
        raise _refused(address, error) from None
    return listening


def _refused(address: Address, error: OSError) -> ListenError:
    if error.errno == errno.EADDRINUSE:
        return ListenError(f"{address} is in use: another program, or another k8strace, listens there")
    return ListenError(f"{address}: {error.strerror or error}")


def make_way(address: Address) -> None:
    """
    Removes a unix socket that a dead process left behind.

    Raises:
        ListenError: It has a listener, it is not a socket, or its folder does not exist.
    """
    path = Path(address.path)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ListenError(f"{address}: there is no folder {path.parent}") from None
        return
    except OSError as error:
        raise _refused(address, error) from None
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{address}: there is something else than a socket")
    if _answers(path):
        raise ListenError(f"{address} is in use: another program, or another k8strace, listens there")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(address, error) from None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def owner_only() -> Iterator[None]:
    """What is made inside is for its owner only (0600). For the whole process: use it before threads are started."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)
