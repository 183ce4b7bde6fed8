"""Serves the page on a socket of this machine, for `open` and `serve --page`."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from k8strace.cli.exits import UsageError
from k8strace.receiver.intake.limits import Limits
from k8strace.receiver.transports.addresses import Address, AddressError, listen_on, parse_addresses
from k8strace.receiver.transports.http_server import HttpServer, Site
from k8strace.receiver.transports.status import plain_answer

__all__ = ["Viewing", "local_address", "view"]

CONNECTIONS: Final = 32
"""Connections at most; each browser has a few."""

App = Callable[[Any, Any, Any], Awaitable[None]]


class Viewing(NamedTuple):
    """A page that is served."""

    address: str
    """The address, with the token that gives access."""
    server: HttpServer


def local_address(text: str) -> Address:
    """
    The address to serve the page on, which must be of this machine.

    Raises:
        UsageError: It is not an address of this machine.
    """
    try:
        addresses = parse_addresses(text)
    except AddressError as error:
        raise UsageError(str(error)) from None
    if not addresses or addresses[0].path or not addresses[0].local:
        raise UsageError(
            f"expected an address of this machine for the page, such as 127.0.0.1:0, got {text!r}"
        )
    return addresses[0]


def view(address: Address, app_of: Callable[[str], App]) -> Viewing:
    """
    Serves an application with a new token.

    Raises:
        ListenError: The address cannot be listened on.
    """
    token = secrets.token_urlsafe(16)
    listening = listen_on(address)
    port = listening.getsockname()[1]
    site = Site(app_of(token), listening, None, frozenset(), plain_answer)
    server = HttpServer([site], Limits(connections=CONNECTIONS))
    server.start()
    return Viewing(f"http://{address._replace(port=port)}/{token}/", server)
