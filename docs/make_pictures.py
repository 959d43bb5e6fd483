"""The pictures of docs/compact.md, from the published ladder on mini.

    python docs/make_pictures.py

The graph: the first question, by hash, to which exactly one teacher of four gives a wrong answer,
seen by the untrained student. The curve: the question with the largest gain of a step in the last
epoch of COMPACT's first seed, among those where all four teachers have an open step.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from compact_bench.api import Axes, Compatibility, consensus
from compact_bench.execution.prepare import prepare
from compact_bench.records.cells import read_cells
from compact_bench.records.suite_record import read_suite_record
from compact_bench.report.figures.question import consensus_graph, epiphany_curve
from compact_bench.student.encode import collate, encode_bank
from compact_bench.student.load import load_student
from compact_bench.suite.schema import load_suite
from compact_bench.utils.files import write_bytes

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures"
METHOD = "compact"


def graph() -> None:
    """Draws the consensus graph of one question."""
    suite = load_suite(ROOT / "suites" / "ladder.yaml")
    bank = prepare(suite).train
    teachers = bank.only_teachers(bank.teachers)
    wrong = teachers.rationales.groupby("question_id")["right"].apply(lambda right: (~right).sum())
    question = next(key for key in teachers.questions["question_id"] if wrong[key] == 1)
    student = load_student(suite.student)
    examples, _ = encode_bank(teachers, student.encoder, suite.training.max_tokens)
    compatibility = Compatibility(Axes(scores=["consensus"]))
    with torch.no_grad():
        for at in range(0, len(examples), 8):
            batch = collate(examples[at : at + 8])
            compatibility.observe(batch, student.forward(batch, needs=compatibility.needs(student)))
        batch = collate([one for one in examples if one.question_id == question])
        out = student.forward(batch, needs=compatibility.needs(student))
    edges = consensus.agreement_graph(
        out.states, batch.answers, batch.present, compatibility.centre, Axes().mix
    )
    shown = teachers.rationales[teachers.rationales["question_id"] == question]
    shown = shown.set_index("teacher").loc[list(teachers.teachers)]
    made = consensus_graph(
        edges[0].numpy(),
        list(teachers.teachers),
        shown["right"].tolist(),
        consensus.strength(edges)[0].tolist(),
    )
    write_bytes(FIGURES / "consensus_graph.svg", made["svg"])
    print(teachers.questions.set_index("question_id").loc[question, "question"])
    print(shown[["text", "right"]].to_string())


def curve() -> None:
    """Draws how one question's answer becomes likely, step by step."""
    folder = ROOT / "results" / "published" / "ladder" / "mini"
    cells = {cell.run_id: cell for cell in read_cells(folder)}
    run_id = next(c["run_id"] for c in read_suite_record(folder).cells if c["label"] == METHOD)
    steps = cells[run_id].table("epiphany").to_pandas()
    steps = steps[steps["epoch"] == steps["epoch"].max()]
    everyone = steps.groupby("question_id")["teacher"].nunique().eq(4)
    steps = steps[steps["question_id"].map(everyone)]
    question = steps.loc[steps["gain"].idxmax(), "question_id"]
    bank = pd.read_parquet(folder / "bank.parquet")
    bank = bank[(bank["question_id"] == question) & (bank["role"] == "teacher")]
    shown = bank.set_index("teacher")
    by_teacher = steps[steps["question_id"] == question].sort_values("rationale_step")
    parts = dict(iter(by_teacher.groupby("teacher", sort=False)))
    made = epiphany_curve(
        {name: part["gain"].to_numpy() for name, part in parts.items()},
        {name: bool(shown.loc[name, "right"]) for name in parts},
        {name: part["epiphany"].to_numpy() for name, part in parts.items()},
    )
    write_bytes(FIGURES / "epiphany_curve.svg", made["svg"])
    print(shown["question"].iloc[0])
    print(shown[["text", "right"]].to_string())
    print(by_teacher[["teacher", "rationale_step", "gain"]].to_string())


if __name__ == "__main__":
    graph()
    curve()
