"""The bank without its faults: equal to the clean world's, and refused where nobody knows them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from baselines.average import Average
from baselines.oracle import Oracle
from baselines.repaired import Repaired
from compact_bench.data.corrupt import corrupt
from compact_bench.mini.world import Teaching, generate


def bank(faults=0.0):
    return generate("gsm8k", train=40, dev=1, test=1, teaching=Teaching(faults=faults)).bank


@pytest.mark.parametrize(
    "faulty",
    [
        bank(faults=1.0),
        corrupt(bank(), {"wrong_answer": 0.5, "skipped_steps": 0.25}, 0),
        corrupt(bank(faults=1.0), {"filler": 0.75}, 0, persistent=True),
        bank(),
    ],
    ids=["slips", "corrupted", "both", "clean"],
)
def test_it_reads_what_average_reads_in_the_world_without_faults(faulty):
    assert Repaired().skip(Run(faulty)) is None
    found, expected = Repaired().select(faulty, None), Average().select(bank(), None)
    assert found.teachers == expected.teachers
    assert found.rationales.equals(expected.rationales)
    assert found.questions.equals(expected.questions)


@pytest.mark.parametrize("method", [Repaired, Oracle])
def test_where_nobody_knows_the_faults_it_is_skipped(method):
    assert "on record" in method().skip(Run(replace(bank(), sound=None)))


def test_the_oracle_reads_everything_of_a_clean_bank():
    assert Oracle().skip(Run(bank())) is None
    assert (
        Oracle().select(bank(), None).rationales.equals(Average().select(bank(), None).rationales)
    )


class Run:
    """The one fact that the two look at."""

    def __init__(self, bank):
        self.bank = bank
