"""A small suite file, and the one line that a wrong one gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from compact_bench.errors import UserError
from compact_bench.suite.schema import load_suite

TEXT = """\
suite: demo
title: Demo
methods: [base, average]
seeds: [0]
training: {learning_rate: 1e-3, epochs: 2, batch_size: 4}
evaluation:
  tasks:
    - {task: in_domain, role: reasoning}
profiles:
  mini:
    limit: 4
  laptop:
    seeds: [1, 2]
    training:
      epochs: 3
"""


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text(TEXT)
    return path


def refusal(path: Path, *arguments, **keywords) -> str:
    """The message of the UserError that loading the file raises."""
    with pytest.raises(UserError) as caught:
        load_suite(path, *arguments, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message
