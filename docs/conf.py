"""The site: `sphinx-build -W --keep-going -n docs build/docs`, as `.ci/run` does it."""

import re

import gradproof

project = "gradproof"
author = "The gradproof authors"
copyright = "The gradproof authors"
version = release = gradproof.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]

# Markdown that GitHub shows, too: headings are anchors under the names that GitHub gives them.
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block"]
nb_execution_mode = "off"  # the notebook is stored with its outputs, and a test runs it

# Signatures show names and defaults; what an argument may be is said in the docstrings.
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 80
numpydoc_show_class_members = False
# `check` in a docstring leads to it where it is ours, and is code where it is not.
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", r"(?!gradproof).*")]

# The button copies what is typed: neither prompts nor what is printed below them.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = "gradproof"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
pygments_style = "xcode"
pygments_dark_style = "github-dark"

# Files of the repository that are pages of the site as well.
PAGES = {
    "README.md": "/index.md",
    "CHANGELOG.md": "/changelog.md",
    "CONTRIBUTING.md": "/contributing.md",
    "benchmarks/README.md": "/explanation/benchmarks.md",
}


def link_pages(*event):
    """Lead links to files of the repository to their pages, in the text that an event brings last, in a list."""
    text = event[-1]
    for path, page in PAGES.items():
        text[0] = re.sub(rf"\]\((?:\.\./)*{re.escape(path)}(?=[)#])", f"]({page}", text[0])


def give_short_anchors(app, doctree):
    """Let `findings.html#gp101` lead to the section on GP101."""
    for section in doctree.findall(lambda node: node.tagname == "section"):
        if id := re.match(r"GP\d{3}(?=:)", section[0].astext()):
            section["ids"].append(id[0].lower())


def trim_blocks(app, doctree):
    """Leave out the empty line that ends an example for doctest, and the colours that `gradproof.course` prints."""
    for block in doctree.findall(lambda node: node.tagname == "literal_block"):
        block.rawsource = re.sub(r"\x1b\[\d+m", "", block.astext()).rstrip("\n")
        block[:] = [type(block[0])(block.rawsource)]


def setup(app):
    app.connect("source-read", link_pages)
    app.connect("include-read", link_pages)
    app.connect("doctree-read", give_short_anchors)
    app.connect("doctree-read", trim_blocks)
