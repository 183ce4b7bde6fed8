"""How long requests would take after a change, with bounds."""

from k8strace.whatif.changes import Change
from k8strace.whatif.projection import Estimate, Figures, Projected, Projection, project

__all__ = ["Change", "Estimate", "Figures", "Projected", "Projection", "project"]
