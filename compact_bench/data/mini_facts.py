"""A fixed base of facts that the nano student knows before distillation and may forget."""

from __future__ import annotations

import random
from typing import NamedTuple

from compact_bench.data.mini_problems import NAMES

# Numbers, so that the same strict extraction reads a fact's answer and a problem's.
RELATIONS = {
    "age": "How old is {name}?",
    "house": "What number is the house of {name}?",
    "bus": "What bus does {name} take?",
    "room": "What room is {name} in?",
    "shirt": "What number is on the shirt of {name}?",
    "page": "What page does {name} read?",
}
TABLE_SEED = "nano facts"  # part of the shipped student: another seed is another student


class Fact(NamedTuple):
    """One question of the base with its answer."""

    relation: str
    question: str
    answer: int


def facts() -> tuple[Fact, ...]:
    """The table: every relation of every name, 144 facts, the same in every run."""
    rng = random.Random(TABLE_SEED)
    return tuple(
        Fact(relation, wording.format(name=name), rng.randint(2, 99))
        for relation, wording in RELATIONS.items()
        for name in NAMES
    )
