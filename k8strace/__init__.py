"""
Where did this Kubernetes API request's time go?

>>> import k8strace
>>> requests = k8strace.join(k8strace.read("tests/data/k8s-1.36_etcd-3.6.otlp.zst"))
>>> requests.slowest(1)[0].components
{'apiserver': 10562808, 'etcd': 3248043, 'webhook': 2056951613}
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from k8strace import _core
from k8strace.attribution import Attribution, Band, Breakdown, Errors, Group, Parts, Quantile, attribute
from k8strace.compare import compare
from k8strace.components import Mark, Rule, Signature, Taxonomy
from k8strace.exceptions import (
    BudgetsError,
    ConditionError,
    DecodeError,
    DigestError,
    FormatError,
    K8straceError,
    MissingExtraError,
    PartsError,
    RulesError,
    SamplingError,
)
from k8strace.pods import pods
from k8strace.requests import Joined, Ledger, Request, Requests, join
from k8strace.selection import Selection
from k8strace.spans import Issue, Source, Spans, decode
from k8strace.tables import Column, Table

if _TYPE_CHECKING:
    from k8strace.archive import ClockEvidence, Couplings, clock_evidence, couplings
    from k8strace.audit import Audit
    from k8strace.budgets import Budget, Checked, Limit, check, read_budgets
    from k8strace.budgets.metrics import Metric
    from k8strace.compare.result import Comparison, Difference, DifferenceRow
    from k8strace.digests import Digest, DigestSettings, Slow, digest
    from k8strace.findings import Finding, Findings
    from k8strace.findings.stalls import Process, Stall, Stalls
    from k8strace.formats import read, scan
    from k8strace.formats.client_times import ClientTime, read_client_times
    from k8strace.histograms import Histogram, Histograms, Sums
    from k8strace.pods.result import Pod, Pods
    from k8strace.pods.syncs import Sync, Syncs
    from k8strace.rules import read_rules
    from k8strace.statistics.composition import Composition, Part, QuantileParts
    from k8strace.stream import RequestStream, StreamedRequests, StreamSettings
    from k8strace.whatif import Change, Estimate, Figures, Projected, Projection

# What only some ask for is imported when they do: the import of the package stays quick.
_LATER = {
    "Audit": "audit",
    "Budget": "budgets",
    "Change": "whatif",
    "Checked": "budgets",
    "ClientTime": "formats.client_times",
    "ClockEvidence": "archive",
    "Comparison": "compare.result",
    "Composition": "statistics.composition",
    "Couplings": "archive",
    "Difference": "compare.result",
    "DifferenceRow": "compare.result",
    "Digest": "digests",
    "DigestSettings": "digests",
    "Estimate": "whatif",
    "Figures": "whatif",
    "Finding": "findings",
    "Findings": "findings",
    "Histogram": "histograms",
    "Histograms": "histograms",
    "Limit": "budgets",
    "Metric": "budgets.metrics",
    "Part": "statistics.composition",
    "Pod": "pods.result",
    "Pods": "pods.result",
    "Process": "findings.stalls",
    "Projected": "whatif",
    "Projection": "whatif",
    "QuantileParts": "statistics.composition",
    "RequestStream": "stream",
    "Slow": "digests",
    "Stall": "findings.stalls",
    "Stalls": "findings.stalls",
    "StreamSettings": "stream",
    "StreamedRequests": "stream",
    "Sums": "histograms",
    "Sync": "pods.syncs",
    "Syncs": "pods.syncs",
    "check": "budgets",
    "clock_evidence": "archive",
    "couplings": "archive",
    "digest": "digests",
    "read": "formats",
    "read_budgets": "budgets",
    "read_client_times": "formats.client_times",
    "read_rules": "rules",
    "scan": "formats",
}

__all__ = [
    "Attribution",
    "Audit",
    "Band",
    "Breakdown",
    "Budget",
    "BudgetsError",
    "Change",
    "Checked",
    "ClientTime",
    "ClockEvidence",
    "Column",
    "Comparison",
    "Composition",
    "ConditionError",
    "Couplings",
    "DecodeError",
    "Difference",
    "DifferenceRow",
    "Digest",
    "DigestError",
    "DigestSettings",
    "Errors",
    "Estimate",
    "Figures",
    "Finding",
    "Findings",
    "FormatError",
    "Group",
    "Histogram",
    "Histograms",
    "Issue",
    "Joined",
    "K8straceError",
    "Ledger",
    "Limit",
    "Mark",
    "Metric",
    "MissingExtraError",
    "Part",
    "Parts",
    "PartsError",
    "Pod",
    "Pods",
    "Process",
    "Projected",
    "Projection",
    "Quantile",
    "QuantileParts",
    "Request",
    "RequestStream",
    "Requests",
    "Rule",
    "RulesError",
    "SamplingError",
    "Selection",
    "Signature",
    "Slow",
    "Source",
    "Spans",
    "Stall",
    "Stalls",
    "StreamSettings",
    "StreamedRequests",
    "Sums",
    "Sync",
    "Syncs",
    "Table",
    "Taxonomy",
    "attribute",
    "check",
    "clock_evidence",
    "compare",
    "couplings",
    "decode",
    "digest",
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
