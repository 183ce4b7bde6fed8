"""How much each sampling rate would bring from a given kube-apiserver: its request rate, multiplied."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from k8strace.setup.versions import Kubernetes, SetupError

__all__ = ["RATES", "Cost", "Measured", "costs", "counted", "measured"]

RATES: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
"""Values of `samplingRatePerMillion` to compare."""

SPAN_BYTES: Final = 410
STORED_BYTES: Final = 65
"""Bytes of one span, on the wire and compressed batch by batch as by `--store-zstd`: the largest of the recordings in
`tests/data` (293 to 410, and 52 to 63)."""

DAY_S: Final = 86_400

_LINE: Final = re.compile(r"apiserver_request_total\{([^}]*)\} ([0-9.eE+]+)")
_VERB: Final = re.compile(r'\bverb="([^"]*)"')


class Measured(NamedTuple):
    """Request rates between two readings of `/metrics`."""

    seconds: float
    verbs: dict[str, float]
    """Verb → requests a second, the highest first."""

    @property
    def per_second(self) -> float:
        """Requests a second of all verbs."""
        return sum(self.verbs.values())


@dataclass(frozen=True, slots=True)
class Cost:
    """What one sampling rate costs, per second or per day."""

    rate: int
    requests: float
    """Sampled requests a second."""
    spans: float
    """A second."""
    wire_bytes: float
    """A second."""
    stored_bytes_a_day: float
    """Not compressed."""
    compressed_bytes_a_day: float
    """With `--store-zstd`."""


def counted(lines: Iterable[str]) -> dict[str, float]:
    """
    Requests by verb so far, from kube-apiserver's `/metrics`.

    Raises:
        SetupError: There are none: it is another program's page, or an error page.

    Examples:
        >>> page = ['apiserver_request_total{code="200",verb="LIST"} 3', 'apiserver_request_total{verb="GET"} 1e+2']
        >>> sorted(counted(page).items())
        [('GET', 100.0), ('LIST', 3.0)]
    """
    found: dict[str, float] = {}
    for line in lines:
        match = _LINE.match(line)
        if match:
            verb = _VERB.search(match[1])
            name = verb[1] if verb else ""
            found[name] = found.get(name, 0.0) + float(match[2])
    if not found:
        raise SetupError("there is no apiserver_request_total: expected kube-apiserver's /metrics")
    return found


def measured(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> Measured:
    """
    Request rates between two readings.

    Raises:
        SetupError: A count fell: the apiserver restarted, or another one answered.

    Examples:
        >>> measured({"GET": 10, "LIST": 1}, {"GET": 110, "LIST": 6}, 10).verbs
        {'GET': 10.0, 'LIST': 0.5}
    """
    if any(after.get(verb, 0) < count for verb, count in before.items()):
        raise SetupError(
            "the request counts fell: another apiserver answered, or it restarted; "
            "ask one apiserver, not the load balancer"
        )
    rates = {verb: (count - before.get(verb, 0)) / seconds for verb, count in after.items()}
    busy = sorted(((verb, rate) for verb, rate in rates.items() if rate), key=lambda each: -each[1])
    return Measured(seconds, dict(busy))


def costs(seen: Measured, version: Kubernetes) -> Iterator[Cost]:
    """One row for each of `RATES`."""
    for rate in RATES:
        requests = seen.per_second * rate / 1_000_000
        spans = requests * version.spans_per_request
        yield Cost(
            rate,
            requests,
            spans,
            spans * SPAN_BYTES,
            spans * SPAN_BYTES * DAY_S,
            spans * STORED_BYTES * DAY_S,
        )
