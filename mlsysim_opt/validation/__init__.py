"""How far the models are from published measurements: rows, the entries they name, predictors and the report."""

from __future__ import annotations
