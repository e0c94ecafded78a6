"""Sphinx configuration: `hatch run docs:build` builds the site from the installed packages."""

import builtins
import datetime
import importlib.metadata
import runpy
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
PICTURES = HERE / "_build" / "pictures"

project = "dike"
copyright = "the dike contributors"  # noqa: A001
html_title = "dike"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "examples/**.md"]

myst_enable_extensions = ["colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {
    f"{name.replace('-', '_')}_version": importlib.metadata.version(name)
    for name in ("dike", "dike-retry", "dike-limit", "dike-batch")
}

# What we link to in Python's own documentation, as a file: the build needs no network.
intersphinx_mapping = {"python": ("https://docs.python.org/3", "python-inventory.txt")}

# What signatures name of private modules has no entry of its own.
nitpick_ignore_regex = [("py:class", r"dike_\w+\._.+")]
nitpick_ignore = [("py:class", name) for name in ("Client", "Decorator", "F")]

# The packages import it for type checkers only. Sphinx evaluates annotations, and looks at the builtins last.
vars(builtins)["timedelta"] = datetime.timedelta

# In a docstring `name` is a link if it is the name of something that has an entry, else plain code.
default_role = "py:obj"

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/logo.svg"
html_theme_options = {
    "sidebar_hide_name": False,
    "light_logo": "logo.svg",
    "dark_logo": "logo.svg",
    "light_css_variables": {"color-brand-primary": "#0b6e8a", "color-brand-content": "#0b6e8a"},
    "dark_css_variables": {"color-brand-primary": "#5ec4dd", "color-brand-content": "#5ec4dd"},
}
html_copy_source = False
html_show_sourcelink = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_selector = "div:not(.highlight-output) > div.highlight > pre"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


class Picture(SphinxDirective):
    """A picture that `pictures.py` draws, in its light and its dark variant; the content is its caption."""

    required_arguments = 1
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a figure that holds both variants, of which the theme shows one."""
        figure = nodes.figure(classes=["picture"])
        for variant in ("light", "dark"):
            uri = f"/_build/pictures/{self.arguments[0]}-{variant}.svg"
            figure += nodes.image(uri=uri, alt=self.options["alt"], classes=[f"only-{variant}"])
        caption = nodes.caption()
        self.state.nested_parse(self.content, self.content_offset, caption)
        figure += nodes.caption("", "", *caption.children[0].children)
        return [figure]


def draw_pictures(app: Sphinx) -> None:
    """Draw the pictures before the pages that show them are read."""
    runpy.run_path(str(HERE / "pictures.py"))["draw_all"](PICTURES)


def require_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Warn about a public object without a docstring, which fails the build."""
    if not any(line.strip() for line in lines):
        logging.getLogger(__name__).warning("%s %s has no docstring", what, name)


def skip_tuple_field(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple, which its docstring describes."""
    return True if str(obj.__doc__).startswith("Alias for field number") else None


def leave_as_code(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Node | None:
    """Take `name` for plain code where nothing of that name has an entry."""
    return content if node["reftype"] == "obj" else None


def setup(app: Sphinx) -> None:
    """Add what is ours to Sphinx."""
    app.add_lexer("output", TextLexer)
    app.add_directive("picture", Picture)
    app.connect("builder-inited", draw_pictures)
    app.connect("missing-reference", leave_as_code, priority=900)
    app.connect("autodoc-skip-member", skip_tuple_field)
    app.connect("autodoc-process-docstring", require_docstring, priority=0)
