"""
Where did this Kubernetes API request's time go?

>>> import k8strace
>>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
>>> k8strace.attribute(requests).components(requests.slowest(1)[0].request)
{'apiserver': 10562808, 'etcd': 3248043, 'webhook': 2056951613}
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from k8strace import _core
from k8strace.attribution import Attribution, attribute
from k8strace.compare import compare
from k8strace.components import Rule, Signature, Taxonomy
from k8strace.exceptions import (
    BudgetsError,
    ConditionError,
    DecodeError,
    FormatError,
    K8straceError,
    RulesError,
    SamplingError,
)
from k8strace.pods import pods
from k8strace.requests import Request, Requests, join
from k8strace.spans import Spans, decode
from k8strace.tables import Table

if _TYPE_CHECKING:
    from k8strace.audit import Audit
    from k8strace.budgets import Budget, Checked, check, read_budgets
    from k8strace.compare.result import Comparison
    from k8strace.findings import Finding, Findings
    from k8strace.formats import read, scan
    from k8strace.formats.client_times import ClientTime, read_client_times
    from k8strace.pods.result import Pod, Pods
    from k8strace.pods.syncs import Sync, Syncs
    from k8strace.rules import read_rules
    from k8strace.stream import RequestStream, StreamSettings
    from k8strace.whatif import Change, Projection

# What only some ask for is imported when they do: the import of the package stays quick.
_LATER = {
    "Audit": "audit",
    "Budget": "budgets",
    "Change": "whatif",
    "Checked": "budgets",
    "ClientTime": "formats.client_times",
    "Comparison": "compare.result",
    "Finding": "findings",
    "Findings": "findings",
    "Pod": "pods.result",
    "Pods": "pods.result",
    "Projection": "whatif",
    "RequestStream": "stream",
    "StreamSettings": "stream",
    "Sync": "pods.syncs",
    "Syncs": "pods.syncs",
    "check": "budgets",
    "read": "formats",
    "read_budgets": "budgets",
    "read_client_times": "formats.client_times",
    "read_rules": "rules",
    "scan": "formats",
}

__all__ = [
    "Attribution",
    "Audit",
    "Budget",
    "BudgetsError",
    "Change",
    "Checked",
    "ClientTime",
    "Comparison",
    "ConditionError",
    "DecodeError",
    "Finding",
    "Findings",
    "FormatError",
    "K8straceError",
    "Pod",
    "Pods",
    "Projection",
    "Request",
    "RequestStream",
    "Requests",
    "Rule",
    "RulesError",
    "SamplingError",
    "Signature",
    "Spans",
    "StreamSettings",
    "Sync",
    "Syncs",
    "Table",
    "Taxonomy",
    "attribute",
    "check",
    "compare",
    "decode",
    "join",
    "pods",
    "read",
    "read_budgets",
    "read_client_times",
    "read_rules",
    "scan",
]

__version__ = _core.__version__


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'k8strace' has no attribute {name!r}")
    return getattr(_import_module(f"k8strace.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if _core.DEBUG:
    import warnings as _warnings

    _warnings.warn(
        "this is a debug build of k8strace, many times slower than a release build",
        RuntimeWarning,
        stacklevel=2,
    )
