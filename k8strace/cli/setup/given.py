"""Arguments of the commands of `setup`: versions, files, and secrets that are never shown."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Final

from k8strace.cli.exits import FAILED, OK, UsageError
from k8strace.setup.versions import SetupError

if TYPE_CHECKING:
    from k8strace.setup.asking import Server

__all__ = ["CODES", "add_caller", "caller_of", "telling", "text_of", "token_of"]

CODES: Final = {
    OK: "done; check: no error, probe: the trace came whole",
    FAILED: "check: errors, probe: something is missing or not reachable",
}


def telling(run: Callable[[argparse.Namespace], int | None]) -> Callable[[argparse.Namespace], int | None]:
    """Turns errors in arguments into wrong usage, but not a server that does not answer."""

    @wraps(run)
    def told(asked: argparse.Namespace) -> int | None:
        from k8strace.setup.asking import UnreachableError

        try:
            return run(asked)
        except UnreachableError:
            raise
        except SetupError as error:
            raise UsageError(str(error)) from None

    return told


def add_caller(command: argparse.ArgumentParser) -> None:
    """Options for the caller's credentials, and for the server's certificate."""
    token = command.add_mutually_exclusive_group()
    token.add_argument("--token-file", type=Path, metavar="FILE", help="bearer token of the caller")
    token.add_argument("--token-env", metavar="NAME", help="the same, from an environment variable")
    command.add_argument("--ca-file", type=Path, metavar="FILE", help="the cluster's certificate authority")
    command.add_argument("--client-cert", type=Path, metavar="FILE", help="certificate of the caller")
    command.add_argument("--client-key", type=Path, metavar="FILE", help="its key")
    command.add_argument(
        "--insecure-skip-tls-verify", action="store_true", help="trust any server that answers"
    )


def caller_of(asked: argparse.Namespace) -> Server:
    """kube-apiserver and the caller, from the arguments."""
    from k8strace.setup.asking import server

    return server(
        asked.server,
        token=token_of(asked.token_file, asked.token_env),
        ca_file=asked.ca_file,
        client_cert=asked.client_cert,
        client_key=asked.client_key,
        verify=not asked.insecure_skip_tls_verify,
    )


def text_of(path: Path) -> str:
    """The text of a file that the user named."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SetupError(f"{path}: not UTF-8 text") from None


def token_of(file: Path | None, variable: str | None) -> str | None:
    """A token from a file or the environment; it is never shown."""
    if file is not None:
        found = text_of(file).strip()
    elif variable is not None:
        found = os.environ.get(variable, "").strip()
    else:
        return None
    if not found:
        raise SetupError(f"{file or variable}: it has no token")
    return found
