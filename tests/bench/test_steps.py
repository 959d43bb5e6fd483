"""How long a training step takes: shared prefix against padded, methods against `average`.

Ratios within one process; run with `tox -e bench`. Interleaved, so that a busy machine slows
both sides alike.
"""

from __future__ import annotations

import statistics
import time

import pytest

from compact_bench.methods.registry import load

METHODS = load().methods
# What overrides `fit` prepares there what its steps need.
TRAINED = sorted(n for n, m in METHODS.items() if m.seeded and "fit" not in m.hook())
ROUNDS = 5


def step_seconds(student, distiller, batches) -> float:
    """Seconds of one training step on each batch, added up."""
    started = time.perf_counter()
    for batch in batches:
        student.model.zero_grad(set_to_none=True)
        distiller.backward(student, batch)
    return time.perf_counter() - started


def test_shared_prefix_against_padded(workload, benchmark):
    student, batches = workload
    average = METHODS["average"]()
    seconds: dict[str, list[float]] = {"padded": [], "shared": []}
    tokens = {}
    for layout in seconds:
        student.layout = layout
        step_seconds(student, average, batches[:1])  # the first step also allocates
    for _ in range(ROUNDS):
        for layout, found in seconds.items():
            student.layout = layout
            before = student.cost.physical_tokens
            found.append(step_seconds(student, average, batches))
            tokens[layout] = student.cost.physical_tokens - before
    student.layout = "shared"
    benchmark.pedantic(step_seconds, (student, average, batches), rounds=1)
    ratio = statistics.median(p / s for p, s in zip(*seconds.values(), strict=True))
    benchmark.extra_info["padded_over_shared_seconds"] = round(ratio, 3)
    benchmark.extra_info["padded_over_shared_tokens"] = round(
        tokens["padded"] / tokens["shared"], 3
    )
    print(
        f"\nshared prefix: {ratio:.2f} times faster, "
        f"{tokens['padded'] / tokens['shared']:.2f} times fewer tokens computed"
    )


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_against_average(name, workload, benchmark):
    student, batches = workload
    student.layout = "shared"
    method = METHODS[name]
    distiller = method(method.variants(method.Config(), ["a", "b", "c", "d"])[0])
    average = METHODS["average"]()
    for each in (distiller, average):
        step_seconds(student, each, batches[:1])
    ratios = [
        step_seconds(student, distiller, batches) / step_seconds(student, average, batches)
        for _ in range(ROUNDS)
    ]
    benchmark.pedantic(step_seconds, (student, distiller, batches), rounds=1)
    ratio = statistics.median(ratios)
    benchmark.extra_info["over_average_seconds"] = round(ratio, 3)
    print(f"\n{name}: {ratio:.2f} times a step of average")
