"""What foreign content is, and what to do about it: only for the text of errors."""

import re
from typing import Final

from k8strace.exceptions import DecodeError

_TAR_MAGIC_AT: Final = 257

_BEGINNINGS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xfe", "UTF-16, as PowerShell's > writes it: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)"),
    (b"{\0", "UTF-16: save it as UTF-8 (iconv -f UTF-16LE -t UTF-8)"),
    (b"[\0", "UTF-16: save it as UTF-8 (iconv -f UTF-16LE -t UTF-8)"),
    (b"\0{\0", "UTF-16: save it as UTF-8 (iconv -f UTF-16BE -t UTF-8)"),
    (b"PK\x03\x04", "a zip archive: unpack it first (unzip)"),
    (b"\xfd7zXZ\x00", "xz: decompress it first (xz -d), or compress with gzip or zstd"),
    (b"BZh", "bzip2: decompress it first (bzip2 -d), or compress with gzip or zstd"),
    (b"\x04\x22\x4d\x18", "lz4: decompress it first (lz4 -d), or compress with gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"\xff\x06\x00\x00sNaPpY", "snappy: decompress it first, or compress with gzip or zstd"),
    (b"\x1f\x8b", "gzip within compression: decompress it once first (gzip -d)"),
    (b"\x28\xb5\x2f\xfd", "zstd within compression: decompress it once first (zstd -d)"),
    (b"SQLite format 3", "an SQLite database"),
    (b"<", "HTML or XML, perhaps a server's error page"),
)

_PREFIX = re.compile(rb'\A[^\n{]{1,300}?\{\s*"(resource|result)')


def of_content(head: bytes) -> str:
    """What the content is that begins like this; empty if unknown."""
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "a tar archive: unpack it first (tar -xf), and read its directory"
    for beginning, what in _BEGINNINGS:
        if head.startswith(beginning):
            return what
    return _of_line(head)


def with_cause(error: DecodeError, sample: bytes) -> DecodeError:
    """The same error with the kind of text that it was found in, if known."""
    cause = _of_line(sample) if error.kind == "json" else ""
    if not cause:
        return error
    return DecodeError(error.expected, f"{error.got}: {cause}", error.path, error.offset, error.kind)


def _of_line(line: bytes) -> str:
    if _PREFIX.match(line):
        return (
            "there is something before the JSON of a line, as `docker logs -t`, `kubectl logs --timestamps` or"
            " `--prefix` and log collectors put it: take it off (sed 's/^[^{]*//')"
        )
    return ""
