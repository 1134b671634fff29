from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

GOOD = """version: 1
name: Chat
workload: Llama3_8B
system: H100
precision: fp8
batch_size: 8
seq_len: 4096
output_len: 512
limits:
  itl: 50 ms
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a scenario file and returns its path."""

    def made(content: str | bytes, name: str = "plan.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return made
