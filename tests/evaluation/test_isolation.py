"""What an evaluation leaves as it was: random states, modes, the log, the data sets' cache."""

from __future__ import annotations

import logging
import os
import random

import datasets
import numpy as np
import pytest
import torch

from compact_bench.evaluation import isolation


def test_random_states_and_modes_are_put_back_also_after_an_error():
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout()).train()
    model[1].eval()

    def draws() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = draws()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)

    def evaluate() -> None:
        with isolation.undisturbed(model):
            model.eval()
            draws()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        evaluate()
    assert draws() == expected
    assert model.training and model[0].training and not model[1].training


def test_lm_eval_s_log_is_silent_inside_only():
    logger = logging.getLogger("lm_eval")
    before = logger.level
    with isolation.quiet():
        assert logger.level == logging.ERROR
    assert logger.level == before


def test_the_cache_of_data_sets_lies_elsewhere_inside_only(tmp_path):
    before = datasets.config.HF_DATASETS_CACHE, os.environ.get("HF_DATASETS_CACHE")
    with isolation.dataset_cache(tmp_path):
        assert tmp_path == datasets.config.HF_DATASETS_CACHE
        assert os.environ["HF_DATASETS_CACHE"] == str(tmp_path)
    assert before == (datasets.config.HF_DATASETS_CACHE, os.environ.get("HF_DATASETS_CACHE"))
