"""Tiny students of two architectures, and prompts for them."""

from __future__ import annotations

import pytest

from compact_bench.student.load import load_student
from compact_bench.suite.sections import StudentSpec
from tests.models import save_tiny

PROMPTS = ["Question: 1 and 2?\nAnswer:", "Question: how many apples?\nAnswer:", "Q", "Why? A:"]


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def student(request, tmp_path_factory):
    folder = save_tiny(request.param, tmp_path_factory.mktemp(request.param))
    found = load_student(StudentSpec(id=str(folder)))
    found.model.eval()
    return found


@pytest.fixture
def prompts(student):
    return [student.encoder.ids(text) for text in PROMPTS]
