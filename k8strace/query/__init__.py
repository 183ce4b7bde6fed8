"""Looking up requests that are held or stored: conditions, where to search, what is found."""

from k8strace.query.held import Held, Provider
from k8strace.query.search import Wanted, search, traces_of
from k8strace.query.stored import Stored

__all__ = ["Held", "Provider", "Stored", "Wanted", "search", "traces_of"]
