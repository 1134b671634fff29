"""Run the Python examples of README.md and docs/ as tests: a page that lies fails the build.

Blocks of one page share their names, as a reader would expect who types them one after the other. The shell
examples are run by tests/test_documented_commands.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from mlsysim_opt.registry import catalog


@pytest.fixture(scope="module")
def _page_in_empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run the blocks of a page in one empty folder: what an example writes, or adds to the catalog, must not stay."""
    before, folders = Path.cwd(), list(catalog._in_use)
    os.chdir(tmp_path_factory.mktemp("page"))
    yield
    os.chdir(before)
    catalog._in_use[:] = folders


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE), SkipParser()],
    patterns=["README.md", "docs/*.md"],
    fixtures=["_page_in_empty_folder"],
).pytest()
