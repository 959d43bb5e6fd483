"""All that a baseline may import.

Sizes in docstrings: B questions, R rationales a question, T tokens, A answer tokens, S steps,
D hidden size, V vocabulary, P trainable parameters.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel

from compact_bench.errors import CellError
from compact_bench.methods import fusion, min_norm, routing, weight_space
from compact_bench.methods.base import Distiller, FromRecorded, MethodTrainer, Run
from compact_bench.methods.branches import BestBranch, MergedBranches
from compact_bench.methods.compatibility import Axes, ByCompatibility, Compatibility
from compact_bench.methods.scores import adaptability, consensus, controls, difficulty
from compact_bench.student.batch import (
    Batch,
    Context,
    Decoding,
    DevMeasure,
    FullStates,
    Output,
    OwnRationales,
    PromptKind,
    Step,
    Target,
    TeacherGradients,
    uniform,
)
from compact_bench.suite.sections import Tunable
from compact_bench.utils.lazy import torch

__all__ = [
    "Annotated",
    "Axes",
    "BaseModel",
    "Batch",
    "BestBranch",
    "ByCompatibility",
    "CellError",
    "Compatibility",
    "Context",
    "Decoding",
    "DevMeasure",
    "Distiller",
    "FromRecorded",
    "FullStates",
    "MergedBranches",
    "MethodTrainer",
    "Output",
    "OwnRationales",
    "PromptKind",
    "Run",
    "Step",
    "Target",
    "TeacherGradients",
    "Tunable",
    "adaptability",
    "consensus",
    "controls",
    "difficulty",
    "fusion",
    "min_norm",
    "routing",
    "torch",
    "uniform",
    "weight_space",
]
