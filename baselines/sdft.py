"""Teachers' rationales in the student's own words: self-distillation fine-tuning."""

from __future__ import annotations

import re
from dataclasses import replace

from pydantic import Field, field_validator

from compact_bench.api import Annotated, Distiller


class SDFT(Distiller):
    """loss = 1/R sum_r NLL_r', r' what the student before training makes of rationale r.

    The student is shown the question with the rationale and writes its own; where that ends in
    another answer than the rationale does, or in none, the rationale stays as it is. Yang et al.,
    "Self-Distillation Bridges Distribution Gap in Language Model Fine-Tuning", ACL 2024, who do so
    with one teacher and an instruction to rewrite the reference answer. Their paper's full text was
    not at hand. The template is ours, for students that follow no instructions: the rationale
    stands as a worked example; `template` sets another. So is the likeliest rewriting
    (temperature 0).

    Cost: a rewriting of every rationale before training; the rewritten ones count as the teachers'.
    """

    name = "sdft"
    version = 1
    reference = "arXiv:2402.13669"
    bibtex = """@inproceedings{yang2024self,
  title={Self-Distillation Bridges Distribution Gap in Language Model Fine-Tuning},
  author={Yang, Zhaorui and Pang, Tianyu and Feng, Haozhe and Wang, Han and Chen, Wei and
          Zhu, Minfeng and Liu, Qian},
  booktitle={Proceedings of ACL},
  year={2024},
  eprint={2402.13669},
  archivePrefix={arXiv}
}"""

    class Config(Distiller.Config):
        """template: what is asked in a question's place, with {question} and {rationale} in it;
        temperature: of what is written."""

        template: str = "{question}\nAnswer: {rationale}\n\nQuestion: {question}"
        temperature: Annotated[float, Field(ge=0)] = 0.0

        @field_validator("template")
        @classmethod
        def names_both(cls, value: str) -> str:
            """Raises ValueError where the question or the rationale would not be shown."""
            if "{question}" not in value or "{rationale}" not in value:
                raise ValueError(f"{value!r}: expected {{question}} and {{rationale}} in it")
            return value

    def select(self, bank, student):
        """The teachers' rationales, rewritten where the answer stays the same."""
        teachers = bank.only_teachers(bank.teachers)
        table = teachers.rationales
        columns = (table[name] for name in ("question_id", "teacher", "sample"))
        keys = list(zip(*columns, strict=True))
        texts = dict(zip(keys, table["text"], strict=True))
        for batch in student.batches(teachers):
            own = list(batch.by_rationale(batch.teacher))  # their keys, in the order of the cells
            cells = list(zip(batch.present.nonzero().tolist(), own, strict=True))
            asked = batch.rewritten(
                [
                    (
                        b,
                        self.prompt(student, batch.questions[b], texts[key]),
                        batch.rationale_ids[b][r],
                    )
                    for (b, r), key in cells
                ]
            )
            written = student.sample(asked, temperature=self.config.temperature)
            pairs = zip(written.texts, written.batch.answer_texts, strict=True)
            for ((b, r), key), ((text,), (answer,)) in zip(cells, pairs, strict=True):
                if answer is not None and answer == batch.answer_texts[b][r]:
                    texts[key] = text.strip()
        return replace(teachers, rationales=table.assign(text=[texts[key] for key in keys]))

    def prompt(self, student, question: str, rationale: str) -> list[int]:
        """Tokens of the template about a question and a rationale."""
        parts = {"{question}": question, "{rationale}": rationale}
        fill = re.compile("|".join(map(re.escape, parts)))
        return student.encoder.prompt(fill.sub(lambda m: parts[m[0]], self.config.template))
