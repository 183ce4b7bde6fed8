"""The page in a notebook: the same script as a widget, and without one the static view."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from k8strace.page.document import Options, packed_of
from k8strace.requests import Requests
from k8strace.tables import require
from k8strace.views.notebook import html_of

__all__ = ["widget_of"]


def widget_of(requests: Requests, options: Options) -> Any:
    """
    A widget of `anywidget` that draws these requests.

    Where widgets are not drawn (a notebook that was saved, exported, or is on a code host) it shows what the requests
    show by themselves.

    Raises:
        MissingExtraError: anywidget is not installed.
    """
    made = _kind()(data=base64.b64encode(packed_of(requests, options)).decode())
    made.static = {"text/html": html_of(requests), "text/plain": repr(requests)}
    return made


@cache
def _kind() -> Any:
    anywidget, traitlets = require("anywidget", "notebook"), require("traitlets", "notebook")

    class Page(anywidget.AnyWidget):  # type: ignore[name-defined, misc] # has no types
        _esm = (files("k8strace.page") / "page.js").read_text(encoding="utf-8")
        _css = (files("k8strace.page") / "page.css").read_text(encoding="utf-8")
        data = traitlets.Unicode("").tag(sync=True)
        static: Mapping[str, str] = MappingProxyType({})

        def _repr_mimebundle_(self, **asked: Any) -> Any:
            bundle, *metadata = super()._repr_mimebundle_(**asked) or ({}, {})
            return {**bundle, **self.static}, *metadata

    return Page
