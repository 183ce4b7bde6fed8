"""What users write, which must pass `mypy --strict`. Not run."""

from collections.abc import Iterator
from typing import assert_type

import k8strace

spans = k8strace.read("recording.otlp.zst")
assert_type(spans, k8strace.Spans)
assert_type(k8strace.decode(b""), k8strace.Spans)
assert_type(k8strace.scan("recording.otlp.zst"), Iterator[k8strace.Spans])

requests = k8strace.join(spans)
assert_type(requests, k8strace.Requests)
assert_type(requests[0], k8strace.Request)
assert_type(requests.where(verb="list", resource="pods"), k8strace.Requests)
assert_type(requests.slowest(20), k8strace.Requests)

attribution = k8strace.attribute(requests, method="critical_path", overlap="clip")
assert_type(attribution, k8strace.Attribution)


def offset_of(error: k8strace.DecodeError) -> int:
    """Byte at which a message breaks."""
    return error.offset
