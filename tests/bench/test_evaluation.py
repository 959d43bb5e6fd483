"""How long answers take: ours against lm-eval's own model, and many samples against few.

Ratios of processor time within one process; run with `tox -e bench`.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from compact_bench.evaluation.lm import StudentLM
from compact_bench.evaluation.sampled_rationales import sample
from compact_bench.execution.prepare import prepare
from compact_bench.suite.schema import load_suite

SUITES = Path(__file__).parent.parent.parent / "suites"
QUESTIONS = {"nano": 200, "real": 64}
ROWS, LONGEST = {"nano": 100, "real": 64}, {"nano": 64, "real": 96}
ROUNDS = {"nano": 3, "real": 1}


@pytest.fixture
def asked(request, workload):
    """Which workload it is, its student in eval mode, and test questions with their answers."""
    name = request.node.callspec.params["workload"]
    student, _ = workload
    suite = load_suite(SUITES / "gsm8k.yaml", "mini", ["data.test=200"])
    mirror = None
    if name == "real":
        suite = load_suite(SUITES / "svamp.yaml", "laptop")
        mirror = Path(os.environ["COMPACT_BENCH_MIRROR"])
    items = prepare(suite, mirror).tasks[0].items.head(QUESTIONS[name])
    student.model.eval()
    yield name, student, list(zip(items["question"], items["answer"], strict=True))
    student.model.train()


def seconds(call) -> float:
    """Processor seconds of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def test_against_lm_evals_own_model(asked, benchmark):
    name, student, items = asked
    settings = {"until": ["Question:"], "do_sample": False, "max_gen_toks": LONGEST[name]}
    texts = [student.encoder.prompt_text(question) for question, _ in items]
    requests = [Instance("generate_until", {}, (text, settings), 0) for text in texts]
    ours = StudentLM(student, ROWS[name])
    stock = HFLM(pretrained=student.causal, tokenizer=student.tokenizer, batch_size=ROWS[name])
    ratios, pairs = [], []
    for _ in range(ROUNDS[name]):
        answers: dict[str, list[str]] = {}
        took = {
            key: seconds(lambda: answers.update({key: lm.generate_until(requests, True)}))  # noqa: B023
            for key, lm in (("stock", stock), ("ours", ours))
        }
        ratios.append(took["stock"] / took["ours"])
        pairs += zip(answers["stock"], answers["ours"], strict=True)
    benchmark.pedantic(ours.generate_until, (requests, True), rounds=1)
    equal = sum(a == b for a, b in pairs) / len(pairs)
    benchmark.extra_info["stock_over_ours_seconds"] = round(statistics.median(ratios), 3)
    benchmark.extra_info["equal_answers"] = round(equal, 4)
    print(f"\n{statistics.median(ratios):.2f} times faster, {equal:.1%} of the answers the same")


def test_many_samples_against_few(asked, benchmark):
    name, student, items = asked
    prompts = [(student.encoder.prompt(question), answer) for question, answer in items[:8]]

    def drawn(samples: int) -> None:
        sample(
            student.causal,
            student.encoder,
            prompts,
            samples=samples,
            max_new_tokens=LONGEST[name],
            batch_size=ROWS[name],
            seed=0,
        )

    ratios = [seconds(lambda: drawn(32)) / seconds(lambda: drawn(4)) for _ in range(ROUNDS[name])]
    benchmark.pedantic(drawn, (4,), rounds=1)
    benchmark.extra_info["32_over_4_samples_seconds"] = round(statistics.median(ratios), 3)
    print(f"\n32 samples take {statistics.median(ratios):.2f} times as long as 4")
