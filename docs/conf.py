"""Sphinx configuration; `make docs` builds the site.

The source directory is the repository's root, so that relative links between README, docs and benchmarks work on the
site as they do in the repository.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import demandcast

project = "demandcast"
release = demandcast.__version__
root_doc = "docs/index"
include_patterns = ["docs/**", "README*.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/**.md"]
exclude_patterns = ["docs/_templates/**"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

nb_execution_mode = (
    "force"  # each build runs every notebook, in a folder of its own; an error ends the build
)
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds a cell
nb_merge_streams = True

myst_heading_anchors = 3
myst_enable_extensions = ["deflist", "dollarmath"]
default_role = "literal"  # docstrings write code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}

html_theme = "furo"
html_title = "demandcast"
templates_path = ["_templates"]
html_additional_pages = {"index": "to_docs.html"}
html_show_sourcelink = False
html_show_copyright = False
highlight_language = "text"  # of fences without a language: diagrams and formulas


def escape(app: Any, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep |x| and trailing underscores of docstrings as text; in reStructuredText they are references."""
    in_example = False
    for i, line in enumerate(lines):
        in_example = line.lstrip().startswith(">>>") or (in_example and bool(line.strip()))
        if not in_example:
            lines[i] = re.sub(r"\||(?<=\w)_(?!\w)", r"\\\g<0>", line)


def setup(app: Any) -> None:
    """Register the filter of docstrings."""
    app.connect("autodoc-process-docstring", escape, priority=600)  # after napoleon
