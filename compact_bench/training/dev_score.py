"""How well a student does on the dev split: what a method may choose by.

Measured as the evaluation measures, by the same code. The test split is out of reach from here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compact_bench.data.tasks import TaskData
from compact_bench.errors import CellError
from compact_bench.evaluation import isolation
from compact_bench.evaluation.evaluate import accuracy_rows, evaluate
from compact_bench.evaluation.sampled_rationales import sample_items
from compact_bench.student.batch import Decoding, DevMeasure
from compact_bench.student.student import Student
from compact_bench.suite.sections import EvaluationSpec

SAMPLES = 32  # of the marginal NLL, where the evaluation itself takes none


@dataclass(frozen=True)
class DevScore:
    """The dev questions of a suite, and how its evaluation asks them.

    task: the dev split as a task. spec: batch size, longest answer, samples. seed: of the samples.
    """

    task: TaskData
    spec: EvaluationSpec
    seed: int

    def of(self, student: Student, decoding: Decoding, by: DevMeasure, questions: int) -> float:
        """A student's score, higher is better: accuracy in 0..1, or minus the marginal NLL, nats.

        Of the `questions` dev questions of lowest hash. The same student gets the same score.
        Adapters stay as they are, and so do the global random state and the modules' modes. What
        the student reads counts in its cost, as spent on choosing.

        Raises CellError where there is no dev question, or for the marginal NLL of a task that is
        not answered in writing.
        """
        task = replace(self.task, items=self.task.items.head(questions))
        if task.items.empty:
            raise CellError("there is no dev question to choose by")
        if by == "marginal_nll" and task.kind != "generate":
            raise CellError(f"the dev score by {by} needs a task of kind generate, not {task.kind}")
        with student.cost.selecting(), student.counted():
            if by == "accuracy":
                spec = self.spec.model_copy(update={"marginal_samples": 0, "select": True})
                rows, _ = evaluate(student, [task], spec, decoding, seed=self.seed, stage="dev")
                return float(accuracy_rows(rows)[0]["value"])
            samples = self.spec.marginal_samples or SAMPLES
            spec = self.spec.model_copy(update={"marginal_samples": samples})
            with isolation.undisturbed(student.causal):
                student.causal.eval()
                sampled = sample_items(student, task.items, spec, decoding, self.seed)
        return -(sum(item.nll for item in sampled) / len(sampled))
