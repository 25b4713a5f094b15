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

from typer.main import get_command

import demandcast
from demandcast import registry
from demandcast.cli.help import GROUPS
from demandcast.cli.main import app as command_line

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


def list_commands() -> str:
    """Return a section for each command: its help, and a table of its options in the groups of `--help`."""
    group: Any = get_command(command_line)
    sections = []
    for name, command in sorted(group.commands.items()):
        context = command.make_context(name, [], resilient_parsing=True)
        rows = [
            (param.name, record[0].replace(" <str>", ""), record[1])
            for param in command.get_params(context)
            if param.name != "help" and (record := param.get_help_record(context)) is not None
        ]
        titles = {option: title for title, options in GROUPS.items() for option in options}
        lines = [f"## {name}", "", (command.help or "").strip(), ""]
        for title in ("", *GROUPS):
            shown = [(option, text) for key, option, text in rows if titles.get(key, "") == title]
            if shown:
                lines += [f"| {title or 'Option'} | Meaning |", "| --- | --- |"]
                lines += [f"| `{option}` | {_cell(text)} |" for option, text in shown] + [""]
        sections.append("\n".join(lines))
    return "\n".join(sections)


def list_methods() -> str:
    """Return a table of the registered methods: what they do, the columns they use, what they forecast."""
    lines = ["| Method | Summary | Uses | Gives |", "| --- | --- | --- | --- |"]
    for name, kind in registry.classes().items():
        lines.append(
            f"| `{name}` | {_cell(kind.summary)} | {_cell(kind.takes)} | {_cell(kind.gives)} |"
        )
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return a text that can stand in a cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def write_lists(app: Any, page: str, source: list[str]) -> None:
    """Put the list of commands or methods in the place of its marker on a page of the reference."""
    for marker, write in (("commands", list_commands), ("methods", list_methods)):
        if page.startswith("docs/reference/"):
            source[0] = source[0].replace(f"<!-- {marker}: written by docs/conf.py -->", write())


def setup(app: Any) -> None:
    """Register the filter of docstrings and the lists of commands and methods."""
    app.connect("autodoc-process-docstring", escape, priority=600)  # after napoleon
    app.connect("source-read", write_lists)
