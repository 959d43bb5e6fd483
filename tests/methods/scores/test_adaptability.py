"""Gains of the gold answer's log-likelihood: telescoping, missing steps, the noise taken off."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compact_bench.methods.scores import adaptability

NAN = float("nan")


@given(st.lists(st.floats(-20, 0), min_size=2, max_size=6))
def test_the_net_gain_telescopes(levels):
    v = torch.tensor(levels, dtype=torch.float64)
    gain = (v[1:] - v[:-1])[None, None]
    assert float(adaptability.net_gain(gain)) == pytest.approx(levels[-1] - levels[0], abs=1e-9)


def test_closed_steps_don_t_count_and_none_open_is_missing():
    gain = torch.tensor([[[0.5, -0.2, NAN], [NAN, NAN, NAN]]])
    assert adaptability.net_gain(gain)[0, 0] == pytest.approx(0.3)
    assert adaptability.net_gain(gain)[0, 1].isnan()
    assert adaptability.open_steps(gain).tolist() == [[2, 0]]


def test_positive_gains_take_off_what_another_rationale_gives_a_step():
    gain = torch.tensor([[[0.5, -0.2, 0.4], [0.1, NAN, NAN]]])
    other = torch.tensor([[[0.2, -0.6], [NAN, NAN]]])  # 0.1 a step; the second has none of its own
    found = adaptability.positive_gains(gain, other)
    assert found[0].tolist() == pytest.approx([0.9 - 3 * 0.1, 0.1 - 1 * 0.1])


@given(st.integers(1, 40), st.integers(0, 1000))
def test_noise_alone_has_no_positive_gain_on_average(steps, seed):
    # Without the control the sum would be steps / sqrt(2 pi), growing with the length.
    draw = torch.Generator().manual_seed(seed)
    gain = torch.randn(1, 2000, steps, generator=draw)
    other = torch.randn(1, 2000, steps, generator=draw)
    error = (2 * steps * 0.34 / 2000) ** 0.5  # relu of a normal has variance 0.34
    assert abs(float(adaptability.positive_gains(gain, other).mean())) < 6 * error


def test_without_another_rationale_s_steps_the_score_is_missing():
    gain = torch.tensor([[[0.5]]])
    assert adaptability.positive_gains(gain, torch.full((1, 1, 1), NAN)).isnan().all()


def test_epiphanies_are_the_steps_above_kappa():
    gain = torch.tensor([[[0.05, 0.3, NAN]]])
    assert adaptability.epiphanies(gain, 0.1).tolist() == [[[False, True, False]]]


def test_infinite_gains_are_refused():
    with pytest.raises(ValueError, match="infinite gain"):
        adaptability.net_gain(torch.tensor([[[float("inf")]]]))


LOSSES = st.lists(st.floats(0.01, 9), min_size=1, max_size=5)


@given(LOSSES, st.floats(0, 1), st.data())
def test_mutual_information_is_a_difference_of_log_likelihoods(losses, discount, data):
    other = data.draw(st.lists(st.floats(0.01, 9), min_size=len(losses), max_size=len(losses)))
    present = torch.ones(1, len(losses), dtype=torch.bool)
    found = adaptability.mutual_information(
        torch.tensor([losses]), torch.tensor([other]), present, discount
    )
    expected = [-own - discount * -apart for own, apart in zip(losses, other, strict=True)]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_what_is_as_likely_after_any_question_has_no_mutual_information():
    nll, present = torch.tensor([[0.1, 2.0, 0.0]]), torch.tensor([[True, True, False]])
    found = adaptability.mutual_information(nll, nll, present)[0]
    assert found[:2].tolist() == [0, 0] and found[2].isnan()
    with pytest.raises(ValueError, match="adaptability: NaN"):
        adaptability.mutual_information(nll, nll * float("nan"), present)
