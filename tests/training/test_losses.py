from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.training.losses import IGNORE_INDEX, cross_entropy, dice_ce_loss

MODES = ["binary", "multiclass"]


def batch(mode: str, seed: int, ignored: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    outputs, classes = (1, 2) if mode == "binary" else (4, 4)
    target = generator.integers(0, classes, (2, 6, 5))
    target[generator.random(target.shape) < ignored] = IGNORE_INDEX
    logits = generator.normal(0, 3, (2, outputs, 6, 5)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(target.astype(np.uint8))


def reference(logits: torch.Tensor, target: torch.Tensor, mode: str) -> tuple[float, float]:
    """Dice and cross-entropy of the labelled pixels alone, one by one."""
    pairs = torch.cat([torch.zeros_like(logits), logits], 1) if mode == "binary" else logits
    labelled = target != IGNORE_INDEX
    scores = pairs.movedim(1, -1)[labelled]
    truth = target[labelled].long()
    if not len(truth):
        return 0.0, 0.0
    shares = scores.softmax(-1).double()
    hot = F.one_hot(truth, shares.shape[1]).double()
    overlap = 2 * (shares * hot).sum(0) / (shares.sum(0) + hot.sum(0))
    loss = torch.where(hot.sum(0) > 0, 1 - overlap, 0.0)
    dice = loss[1] if mode == "binary" else loss.mean()
    return float(dice), float(F.cross_entropy(scores, truth))


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), ignored=st.sampled_from([0.0, 0.3, 0.9]), weight=st.floats(0, 1))
def test_the_loss_is_that_of_the_labelled_pixels_alone(
    mode: str, seed: int, ignored: float, weight: float
) -> None:
    logits, target = batch(mode, seed, ignored)
    dice, entropy = reference(logits, target, mode)
    found = dice_ce_loss(logits, target, mode=mode, dice_weight=weight)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(weight * dice + (1 - weight) * entropy, abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_ignored_pixels_change_neither_loss_nor_gradient(mode: str) -> None:
    logits, target = batch(mode, 1, 0.5)
    ignored = (target == IGNORE_INDEX)[:, None].expand_as(logits)
    logits.requires_grad_()
    loss = dice_ce_loss(logits, target, mode=mode)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).any()
    other = torch.where(ignored, -logits, logits)
    assert torch.equal(loss, dice_ce_loss(other, target, mode=mode))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_without_a_label_costs_nothing(mode: str) -> None:
    logits, target = batch(mode, 2, 1.1)
    logits.requires_grad_()
    loss = dice_ce_loss(logits, target, mode=mode)  # type: ignore[arg-type]
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_extreme_logits_stay_finite(mode: str) -> None:
    logits, target = batch(mode, 3, 0.2)
    extreme = (logits * 1e4).requires_grad_()
    loss = dice_ce_loss(extreme, target, mode=mode)  # type: ignore[arg-type]
    loss.backward()
    assert torch.isfinite(loss)
    assert extreme.grad is not None
    assert torch.isfinite(extreme.grad).all()


@pytest.mark.parametrize("mode", MODES)
def test_a_sure_and_right_answer_costs_next_to_nothing(mode: str) -> None:
    _, target = batch(mode, 4, 0.2)
    classes = 2 if mode == "binary" else 4
    hot = F.one_hot(target.long() % 255 % classes, classes).movedim(-1, 1).float()
    logits = 60 * (hot[:, 1:] * 2 - 1 if mode == "binary" else hot)
    assert dice_ce_loss(logits, target, mode=mode).item() < 1e-4  # type: ignore[arg-type]
    assert cross_entropy(logits, target, mode=mode).item() < 1e-6  # type: ignore[arg-type]
