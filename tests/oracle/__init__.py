"""An independent reading of OTLP captures, written from the definitions and slow on purpose.

Only the official protobuf classes, dictionaries and networkx are used, so an answer that agrees
with the library's own was reached twice. All times are integer nanoseconds and all intervals
half-open; an interval that ends at or before its start is empty.
"""

from oracle.clocks import measured_offsets
from oracle.dividing import (
    Segment,
    active_share,
    clock_offsets,
    critical_path,
    effective,
    on_one_clock,
    self_time,
    times,
    wall_ns,
)
from oracle.joining import (
    BESIDE,
    SET_ASIDE,
    USED,
    Joined,
    Repair,
    Request,
    counts,
    end_of,
    forest,
    good_times,
    join,
    joined_capture,
    node_name,
)
from oracle.rows import CLIENT, INTERNAL, SERVER, Event, Id, Link, Row, attributes, load, spans, value

__all__ = [
    "BESIDE",
    "CLIENT",
    "INTERNAL",
    "SERVER",
    "SET_ASIDE",
    "USED",
    "Event",
    "Id",
    "Joined",
    "Link",
    "Repair",
    "Request",
    "Row",
    "Segment",
    "active_share",
    "attributes",
    "clock_offsets",
    "counts",
    "critical_path",
    "effective",
    "end_of",
    "forest",
    "good_times",
    "join",
    "joined_capture",
    "load",
    "measured_offsets",
    "node_name",
    "on_one_clock",
    "self_time",
    "spans",
    "times",
    "value",
    "wall_ns",
]
