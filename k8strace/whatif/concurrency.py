"""
Declared concurrency: spans that run at once in kube-apiserver, whatever the times of one request show.

If a span began after another had ended, that may be a coincidence. Known code is declared here; for the rest two
readings of the times bound the answer (see `Projection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from k8strace.components import INTERNAL, Signature

__all__ = ["STREAMED", "TOGETHER", "Together", "together"]


class Together(NamedTuple):
    """Siblings that start at once and are awaited together, even if one of them ended before another began."""

    service: str
    kind: int
    name: str
    """Pattern of the span name."""
    why: str


TOGETHER: Final = (
    Together(
        "apiserver",
        INTERNAL,
        "Call validating webhook",
        "one goroutine for each webhook, started in a row; the request goes on when all have answered",
    ),
)
"""
Not here, since they come one after the other and their times say so: mutating webhooks, the pages of a list from etcd,
transforms of one object by a KMS.
"""

STREAMED: Final = frozenset({"etcd.stream"})
"""
Phases in which a caller processes data while more is being sent: a faster sender may save all of this time or nothing.
"""


def together(signatures: Sequence[Signature]) -> list[int]:
    """The number of each signature's group in `TOGETHER`, from 1 on; 0 for none."""
    return [
        next((at for at, row in enumerate(TOGETHER, 1) if _is(signature, row)), 0) for signature in signatures
    ]


def _is(signature: Signature, row: Together) -> bool:
    return (signature.service, signature.kind) == (row.service, row.kind) and fnmatchcase(
        signature.name, row.name
    )
