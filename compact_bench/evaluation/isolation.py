"""Keeps an evaluation from changing anything else in the process, and from talking."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from tqdm import tqdm

_BARS = ("lm_eval.api.task", "lm_eval.api.model", "lm_eval.models.huggingface")


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Puts back the global random states and every module's mode.

    lm-eval seeds Python, NumPy and torch, and leaves the model in eval mode; a training run that
    goes on afterwards would depend on whether it had been evaluated.
    """
    modes = [(module, module.training) for module in model.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for module, training in modes:
            module.training = training


def _no_bar(*args: Any, **options: Any) -> Any:
    return tqdm(*args, **(options | {"disable": True}))


@contextmanager
def quiet() -> Iterator[None]:
    """Silences lm-eval: its log, its progress bars, and git's complaint outside a repository.

    The environment that lm-eval collects (seconds of work) isn't kept: env.json has it.
    """
    logger = logging.getLogger("lm_eval")
    with ExitStack() as stack:
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        for module in _BARS:
            stack.enter_context(patch(f"{module}.tqdm", _no_bar))
        stack.enter_context(patch("lm_eval.evaluator.get_git_commit_hash", lambda: None))
        stack.enter_context(patch("lm_eval.evaluator.add_env_info", lambda storage: None))
        yield


@contextmanager
def dataset_cache(folder: Path) -> Iterator[None]:
    """Has the `datasets` library write its converted copies to `folder`, not to the user's home."""
    import datasets

    in_process = patch.object(datasets.config, "HF_DATASETS_CACHE", folder)
    with in_process, patch.dict(os.environ, {"HF_DATASETS_CACHE": str(folder)}):
        yield
