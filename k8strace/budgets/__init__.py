"""Budgets: limits on metrics of requests, in a file, with three verdicts."""

from k8strace.budgets.reading import Budget, Limit, read_budgets
from k8strace.budgets.verdicts import BROKEN, CANNOT_TELL, KEPT, Checked, Verdict, check, worst_of

__all__ = [
    "BROKEN",
    "CANNOT_TELL",
    "KEPT",
    "Budget",
    "Checked",
    "Limit",
    "Verdict",
    "check",
    "read_budgets",
    "worst_of",
]
