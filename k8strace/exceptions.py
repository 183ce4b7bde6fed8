"""All exceptions of k8strace, of which `K8straceError` is the base; and the checks of arguments."""

import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from operator import index
from reprlib import repr as shortened
from types import UnionType
from typing import SupportsIndex

__all__ = [
    "OUT_OF_MEMORY",
    "BudgetsError",
    "ConditionError",
    "DecodeError",
    "DigestError",
    "FormatError",
    "K8straceError",
    "MissingExtraError",
    "PartsError",
    "RulesError",
    "SamplingError",
    "expect",
    "expect_count",
    "expect_several",
    "extra",
    "is_out_of_memory",
]


class K8straceError(Exception):
    """Base of all errors that k8strace raises itself."""


class DecodeError(K8straceError, ValueError):
    """
    Malformed bytes: what was expected, what was found, and where.

    Examples:
        >>> import k8strace
        >>> try:
        ...     k8strace.decode(bytes([0x0A, 0x05, 0x12]))
        ... except k8strace.DecodeError as error:
        ...     print(error)
        expected 5 bytes, as the length says, got 1 - at the top level (byte 1)
    """

    def __init__(self, expected: str, got: str, path: str, offset: int, kind: str = "malformed") -> None:
        super().__init__(expected, got, path, offset, kind)
        self.expected = expected
        """What the format requires here."""
        self.got = got
        """What was found instead."""
        self.path = path
        """Field path in the `.proto`'s words, outermost first; empty at the top."""
        self.offset = offset
        """Byte offset in the input."""
        self.kind = kind
        """
        What kind of error it is, for programs; one of "malformed", "cut", "utf8", "json" (not JSON), "not_otlp",
        "metrics", "logs", "profiles" (OTLP of another signal), "limit", "compression", "checksum".
        """

    def __str__(self) -> str:
        return f"expected {self.expected}, got {self.got} - at {self.path or 'the top level'} (byte {self.offset})"


class FormatError(K8straceError, ValueError):
    """The content fits no known format, or several. The message says what was seen and which `format=` to give."""


class ConditionError(K8straceError, ValueError):
    """A condition or a time cannot be parsed. The message says what was expected."""


class SamplingError(K8straceError, ValueError):
    """Totals cannot be estimated, because the sampling rate is not known. The message says why."""


class RulesError(K8straceError, ValueError):
    """A file of rules is invalid: the file, line and column (from 1), and what was expected."""

    def __init__(self, source: str, line: int, column: int, message: str) -> None:
        super().__init__(source, line, column, message)
        self.source = source
        self.line = line
        self.column = column
        self.message = message

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}, column {self.column}: {self.message}"


class BudgetsError(K8straceError, ValueError):
    """A file of budgets is invalid, or names something that does not exist. The message says which budget."""


class MissingExtraError(K8straceError, ModuleNotFoundError):
    """A library that only one feature needs is not installed. The message names the extra that brings it."""


class PartsError(K8straceError, RuntimeError):
    """Parts do not add up to the whole. The message says what differs; nothing is returned."""


class DigestError(K8straceError, ValueError):
    """A directory has no digest, or one of other files or settings. The message says what differs."""


def expect(value: object, kind: type | UnionType, wanted: str) -> None:
    """
    An argument is of a kind.

    Raises:
        TypeError: It is not: what was wanted, and what came.

    Examples:
        >>> expect("spans.otlp", int, "a number")
        Traceback (most recent call last):
        ...
        TypeError: expected a number, got 'spans.otlp'
    """
    if not isinstance(value, kind):
        raise TypeError(f"expected {wanted}, got {shortened(value)}")


def expect_several(values: object, wanted: str, kind: type = Collection) -> None:
    """
    An argument is several of something: a text is one.

    Raises:
        TypeError: It is not: what was wanted, and what came.

    Examples:
        >>> expect_several("verb", 'columns such as ("verb", "resource")')
        Traceback (most recent call last):
        ...
        TypeError: expected columns such as ("verb", "resource"), got 'verb'
    """
    if isinstance(values, str | bytes):
        raise TypeError(f"expected {wanted}, got {shortened(values)}")
    expect(values, kind, wanted)


def expect_count(count: object) -> None:
    """
    An argument is a number of rows, or None for all.

    Raises:
        TypeError: It is something else.
        ValueError: It is negative.

    Examples:
        >>> expect_count(-1)
        Traceback (most recent call last):
        ...
        ValueError: expected a number of rows, at least 0, or None for all, got -1
    """
    expect(count, SupportsIndex | None, "a number of rows")
    if isinstance(count, SupportsIndex) and index(count) < 0:
        raise ValueError(f"expected a number of rows, at least 0, or None for all, got {count!r}")


@contextmanager
def extra(name: str, feature: str, library: str | None = None) -> Iterator[None]:
    """
    A context for imports that need an extra.

    Args:
        name: The extra.
        feature: What needs it, as the beginning of a sentence.
        library: The library's name, if it differs from the module's.

    Raises:
        MissingExtraError: A module of it is not installed.

    Examples:
        >>> with extra("serve", "OTLP over HTTP"):
        ...     import not_installed
        Traceback (most recent call last):
        ...
        k8strace.exceptions.MissingExtraError: OTLP over HTTP needs not_installed: pip install 'k8strace[serve]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{feature} needs {library or error.name}: pip install 'k8strace[{name}]'"
        raise MissingExtraError(message, name=error.name) from None


OUT_OF_MEMORY = "there is not enough memory for this"
"""The message for users."""

_NO_MEMORY = (
    (RuntimeError, "can't start new thread"),
    (ImportError, "failed to map segment"),
    (ImportError, "cannot allocate memory"),
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """
    Whether the error is a lack of memory. It is no bug: there may be memory later, or under a higher limit.

    Examples:
        >>> import errno
        >>> from k8strace.exceptions import is_out_of_memory
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(OSError(errno.ENOMEM, "")), is_out_of_memory(OSError())
        (True, True, False)
        >>> is_out_of_memory(RuntimeError("can't start new thread")), is_out_of_memory(RuntimeError("else"))
        (True, False)
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    told = str(error).lower()
    return isinstance(error, MemoryError) or any(
        isinstance(error, kind) and words in told for kind, words in _NO_MEMORY
    )
