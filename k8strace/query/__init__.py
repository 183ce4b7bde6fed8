"""Looking up requests that are held or stored: what is wanted, where it is looked for, what is found."""

from k8strace.query.held import Held, Provider
from k8strace.query.search import Wanted, search, traces_of

__all__ = ["Held", "Provider", "Wanted", "search", "traces_of"]
