"""
`pods`: spans → `Pods`, one row per pod, as its kubelet and the container runtime saw it.

    Spans ─join→ syncs, calls to the runtime, requests of kubelets ─→ a row per pod: its start and ending, divided
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k8strace.requests import Requests, join

if TYPE_CHECKING:
    from k8strace.pods.result import Pods
    from k8strace.spans import Spans

__all__ = ["pods"]


def pods(source: Spans | Requests) -> Pods:
    """
    Pods as their kubelets and container runtimes saw them: one row per pod, with its start and ending divided.

    A *sync* is one time a kubelet works on a pod: a `syncPod`, `syncTerminatingPod` or `syncTerminatedPod` span with
    everything below it. A *start* lasts from the first of them until the last of the pod's containers was started for
    the first time.

    Args:
        source: Spans, or requests; of a selection of requests, everything that was joined with them.

    Examples:
        >>> import k8strace
        >>> pods = k8strace.pods(k8strace.read("tests/data/node/k8s-1.37_kubelet.otlp.zst"))
        >>> [pod.name for pod in pods.where(started=True).slowest()][:1]
        ['init-0']
    """
    from k8strace.pods.facts import Facts  # slow to import
    from k8strace.pods.result import Pods

    return Pods(Facts(source if isinstance(source, Requests) else join(source)))
