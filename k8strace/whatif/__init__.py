"""One population and a change → the projected population, with its error."""

from k8strace.whatif.changes import Change
from k8strace.whatif.projection import Estimate, Figures, Projected, Projection, project

__all__ = ["Change", "Estimate", "Figures", "Projected", "Projection", "project"]
