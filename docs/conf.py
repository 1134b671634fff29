"""Sphinx: MyST pages, furo theme."""

from __future__ import annotations

import mlsysim_opt

project = "mlsysim_opt"
author = "The mlsysim_opt contributors"
copyright = "The mlsysim_opt contributors"
version = release = mlsysim_opt.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
suppress_warnings = ["misc.highlighting_failure"]  # a console block may hold any output

html_theme = "furo"
html_title = f"mlsysim_opt {version}"
