"""What the author of a method imports: all of it is listed, and torch is torch."""

from __future__ import annotations

import torch

from compact_bench import api


def test_all_that_is_listed_is_there_and_all_that_is_there_is_listed():
    public = {name for name in vars(api) if not name.startswith("_")} - {"annotations"}
    assert sorted(api.__all__) == api.__all__
    assert set(api.__all__) == public


def test_the_late_import_of_torch_is_torch_itself():
    assert api.torch.Tensor is torch.Tensor
    assert api.torch.nn.functional is torch.nn.functional
