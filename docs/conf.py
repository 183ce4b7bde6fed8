"""Sphinx settings. `make docs` builds, and every warning is an error."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

project = "k8strace"
author = "the k8strace developers"
copyright = "the k8strace developers, Apache-2.0"  # noqa: A001, the name that sphinx reads
release = version = tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["package"]["version"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

html_theme = "furo"
html_title = "k8strace"
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are stored as executed; a test runs them again

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "undoc-members": True, "inherited-members": "tuple,Exception"}
napoleon_numpy_docstring = False
