"""Configuration of the documentation site: ``make docs`` writes it to ``docs/_build/html``."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

project = "lightrnn_pl"
author = "the lightrnn_pl authors"
release = version = metadata.version("lightrnn_pl")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "configuration_reference",
    "repository_links",
]
exclude_patterns = ["_build", "results/*/metrics"]
nitpicky = False
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "text"

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "off"

# Optional packages that are not installed with the others.
autodoc_mock_imports = ["flashlight", "pyctcdecode"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"lightrnn_pl {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = html_show_sourcelink = html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"
