"""A null of COMPACT: each question trained with the weights of another one."""

from __future__ import annotations

from dataclasses import replace

from compact_bench.api import FromRecorded, torch


class CompactPermuted(FromRecorded):
    """w = the weights that another run gave to another question in the same epoch.

    Keeps which teachers are favoured, how strongly and when; drops that it depends on the
    question. Questions change places only with those that have rationales of the same teachers.
    """

    name = "compact_permuted"
    version = 1
    reference = "none"

    def changed(self, recorded, trainer):
        """The recorded weights, moved among questions."""
        return replace(recorded, frame=among_questions(recorded.frame, trainer.seed))


def among_questions(frame, seed: int):
    """Recorded weights (a pandas frame) with whole questions' weights moved within an epoch."""
    draw = torch.Generator().manual_seed(seed)
    frame = frame.sort_values(["step", "question_id", "teacher", "sample"])
    questions = frame.groupby(["epoch", "step", "question_id"], sort=False)
    who = questions[["teacher", "sample"]].apply(lambda rows: tuple(map(tuple, rows.to_numpy())))
    alike: dict = {}
    for (epoch, step, question), teachers in who.items():
        alike.setdefault((epoch, teachers), []).append((step, question))
    weight = dict(iter(frame.groupby(["step", "question_id"], sort=False)["weight"]))
    moved = {}
    for members in alike.values():
        order = torch.randperm(len(members), generator=draw).tolist()
        for place, other in zip(members, order, strict=True):
            moved[place] = weight[members[other]].to_numpy()
    keys = zip(frame["step"], frame["question_id"], strict=True)
    ordered = [moved[key] for key in dict.fromkeys(keys)]
    return frame.assign(weight=[value for values in ordered for value in values])
