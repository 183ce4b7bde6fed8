"""Writes protobuf's wire format, as far as profiles and traces need it."""

from collections.abc import Iterable

__all__ = ["data", "number", "numbers", "varint"]


def varint(value: int) -> bytes:
    """
    A 64-bit integer as a varint; a negative one as its two's complement.

    Examples:
        >>> varint(300).hex(), len(varint(-1))
        ('ac02', 10)
    """
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """A field that is an integer, an enum or a bool."""
    return varint(field << 3) + varint(value)


def data(field: int, value: bytes | str) -> bytes:
    """A field that is text, bytes or a message."""
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def numbers(field: int, values: Iterable[int]) -> bytes:
    """A repeated field of integers, packed."""
    return data(field, b"".join(map(varint, values)))
