"""Banks with wrong and spoilt rationales, and step records with weights that see some of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

QUESTIONS = 40
EPOCHS = 3
# label: accuracy on each task after training, and how well the weights tell good from bad
RUNGS: Mapping[str, tuple[float, float, float, float, str]] = {
    "random_weights": (0.42, 0.82, 0.65, 0.70, "0.0"),
    "static": (0.45, 0.82, 0.66, 0.70, "0.3"),
    "permuted": (0.45, 0.83, 0.66, 0.71, "0.3"),
    "frozen": (0.54, 0.83, 0.67, 0.72, "1.0"),
    "full": (0.62, 0.84, 0.69, 0.73, "2.0"),
    "oracle": (0.70, 0.85, 0.70, 0.74, ""),
    "no consensus": (0.55, 0.84, 0.68, 0.72, "1.0"),
    "no adaptability": (0.44, 0.83, 0.66, 0.71, "0.5"),
    "no floor": (0.62, 0.79, 0.61, 0.66, "2.0"),
}


def question_id(text: str) -> str:
    """The hash that stands for a question."""
    return sha256(text.encode()).hexdigest()[:16]


def bank(
    teachers: Sequence[str], corrupt: Mapping[str, float] | None = None, questions: int = QUESTIONS
) -> SimpleNamespace:
    """A bank where every teacher errs on some questions, and faults that were put in on purpose."""
    draw = np.random.default_rng(11)
    ids = [question_id(f"train/{i}") for i in range(questions)]
    rows = []
    for one in ids:
        for place, teacher in enumerate(teachers):
            wrong = draw.random() < 0.15 + 0.05 * place
            fault = "slip" if wrong else "filler" if draw.random() < 0.1 else ""
            if corrupt is not None:
                fault = next((f for f, share in corrupt.items() if draw.random() < share), "")
                wrong = fault == "wrong_answer"
            rows.append(
                {
                    "question_id": one,
                    "teacher": teacher,
                    "sample": 0,
                    "role": "teacher",
                    "text": f"Secret words of {teacher}. The answer is 7",
                    "answer": f"{draw.integers(3)}" if wrong else "7",
                    "right": not wrong,
                    "corruption": fault,
                }
            )
    stems = [f"Secret stem {i}" for i in range(questions)]
    questions = pd.DataFrame(
        {"question_id": ids, "question": stems, "answer": "7", "kind": "number"}
    )
    return SimpleNamespace(questions=questions, rationales=pd.DataFrame(rows))


def steps(
    rationales: pd.DataFrame, strength: str, seed: int, random: int = 0
) -> list[dict[str, Any]]:
    """Steps of two questions; `strength` is how far weights see through faults ("" = equal)."""
    draw = np.random.default_rng([random, seed, sum(map(ord, strength))])
    groups = [group for _, group in rationales.groupby("question_id", sort=True)]
    rows = []
    for epoch in range(EPOCHS):
        for place, number in enumerate(draw.permutation(len(groups))):
            group = groups[number].reset_index(drop=True)
            good = (group["right"] & (group["corruption"] == "")).to_numpy()
            noise = draw.normal(0, 1, (3, len(group)))
            logits = float(strength or 0) * good * (0.5 + epoch / 2) + 0.6 * noise[0]
            weights = np.exp(logits) if strength else np.ones(len(group))
            for i, rationale in group.iterrows():
                missing = rationale["teacher"] == "terse" and number % 2 == 0
                scores = {
                    "score_consensus": float(good[i] + noise[1][i]),
                    "score_adaptability": float("nan") if missing else float(good[i] + noise[2][i]),
                }
                rows.append(
                    {
                        "step": epoch * (len(groups) // 2) + place // 2,
                        "epoch": epoch,
                        "question_id": rationale["question_id"],
                        "teacher": rationale["teacher"],
                        "sample": 0,
                        "nll": 2.0 - 0.2 * good[i] + 0.1 * noise[1][i],
                        "weight": float(weights[i] / weights.sum()),
                        "rationale_tokens": 20 + (7 * number + 5 * i) % 23,
                    }
                    | (scores if strength else {})
                )
    return rows
