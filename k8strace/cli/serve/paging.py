"""`serve --page`: the live page, on its own socket beside the receiver."""

from __future__ import annotations

import argparse
import threading
from typing import Any, Final

from k8strace.cli.serve.logs import LOG, facts
from k8strace.cli.serve.showing import Watch
from k8strace.cli.viewing import Viewing, local_address, view
from k8strace.page.document import live_page
from k8strace.page.serving import page_app
from k8strace.query import Held, Stored
from k8strace.receiver.serving import Receiver
from k8strace.rules import read_rules
from k8strace.views.live import Snapshot
from k8strace.views.palette import component_colour, in_order

__all__ = ["LivePage", "snapshot_record"]

MOST_GROUPS: Final = 12


class LivePage:
    """
    Shows the last requests of a receiver.

    Args:
        asked: The arguments of `serve`.
        held: The held requests, which listen to the receiver.

    Raises:
        UsageError: The page's address is not one of this machine.
    """

    def __init__(self, asked: argparse.Namespace, held: Held) -> None:
        self._asked = asked
        self._address = local_address(asked.page)
        self._viewing: Viewing | None = None
        self._held = held

    def start(self, receiver: Receiver) -> None:
        """
        Begins to serve the page.

        Raises:
            ListenError: The address cannot be listened on.
        """
        watch, lock = Watch(receiver), threading.Lock()
        document = live_page(stored=receiver.journal is not None)
        stored = None
        if receiver.journal is not None:
            taxonomy = read_rules(*self._asked.rules)
            stored = Stored(
                receiver.journal.directory, self._held, taxonomy=taxonomy, apiserver=self._asked.apiserver
            )

        def now() -> dict[str, Any]:
            with lock:
                return snapshot_record(watch.snapshot())

        self._viewing = view(
            self._address, lambda token: page_app(token, lambda: document, self._held, stored, now)
        )
        LOG.info("the page: %s", self._viewing.address, extra=facts(page=self._viewing.address))

    def stop(self) -> None:
        """Stops serving."""
        if self._viewing is not None:
            self._viewing.server.stop(0.0)


def snapshot_record(now: Snapshot) -> dict[str, Any]:
    """What the live table shows, for the page's script: times in ns, components with their colours."""
    whole = now.recent.total()
    ranked = sorted(now.recent.groups.items(), key=lambda each: (-each[1].wall.total_ns, str(each[0])))
    return {
        "ready": now.ready,
        "about": [*now.listening, now.mode],
        "spans_per_s": now.spans_per_s,
        "requests_per_s": now.requests_per_s,
        "spans": now.spans,
        "requests": now.requests,
        "held_spans": now.held_spans,
        "recent_s": now.recent_s,
        "wall_ns": whole.wall.total_ns,
        "p50_ns": whole.wall.quantile(0.5) if whole.wall.count else None,
        "p99_ns": whole.wall.quantile(0.99) if whole.wall.count else None,
        "components": _parts(whole.components),
        "groups": [
            [verb or "-", resource or "(no resource)", group.requests,
             group.wall.quantile(0.5) if group.wall.count else None,
             group.wall.quantile(0.99) if group.wall.count else None,
             group.wall.total_ns, _parts(group.components)]
            for (verb, resource), group in ranked[:MOST_GROUPS]
        ],
        "lacks": dict(now.lacks),
    }  # fmt: skip


def _parts(components: dict[str, int]) -> list[list[Any]]:
    return [[name, ns, component_colour(name)] for name, ns in in_order(dict(components)).items()]
