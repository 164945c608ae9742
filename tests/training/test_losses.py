from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from seg4eo_xr.training.config import LossType, TrainConfig
from seg4eo_xr.training.losses import IGNORE_INDEX, SegmentationLoss, loss_shares

MODES = ["binary", "multiclass"]
LOSSES = get_args(LossType)
every = pytest.mark.parametrize(
    ("loss_type", "mode"), [(name, mode) for name in LOSSES for mode in MODES]
)


def make(loss_type: str, mode: str, weights: Any = None, **options: Any) -> SegmentationLoss:
    config = TrainConfig(loss_type=loss_type, **options)  # type: ignore[arg-type]
    return SegmentationLoss(config, mode, weights)  # type: ignore[arg-type]


def batch(mode: str, seed: int, ignored: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    outputs, classes = (1, 2) if mode == "binary" else (4, 4)
    target = generator.integers(0, classes, (2, 6, 5))
    target[generator.random(target.shape) < ignored] = IGNORE_INDEX
    logits = generator.normal(0, 3, (2, outputs, 6, 5)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(target.astype(np.uint8))


def reference(
    logits: torch.Tensor, target: torch.Tensor, mode: str, weights: torch.Tensor
) -> dict[str, float]:
    """Each loss of the labelled pixels alone, from its formula, pixel by pixel."""
    pairs = torch.cat([torch.zeros_like(logits), logits], 1) if mode == "binary" else logits
    labelled = target != IGNORE_INDEX
    truth = target[labelled].long()
    if not len(truth):
        return dict.fromkeys(("ce", "dice", "focal", "tversky"), 0.0)
    shares = pairs.movedim(1, -1)[labelled].double().softmax(-1)
    hot = F.one_hot(truth, shares.shape[1]).double()
    right, weight = (shares * hot).sum(1), weights.double()[truth]
    alpha = torch.where(truth == 1, 0.25, 0.75) if mode == "binary" else torch.ones_like(right)
    hits = (shares * hot).sum(0)
    wrong, missed = (shares * (1 - hot)).sum(0), ((1 - shares) * hot).sum(0)

    def region(score: torch.Tensor) -> float:
        loss = torch.where(hot.sum(0) > 0, 1 - score, 0.0)
        classes = weights.double()
        return float(loss[1] if mode == "binary" else (loss * classes).sum() / classes.sum())

    return {
        "ce": float((-right.log() * weight).sum() / weight.sum()),
        "focal": float(((1 - right) ** 2 * -right.log() * alpha * weight).sum() / weight.sum()),
        "dice": region(2 * hits / (2 * hits + wrong + missed)),
        "tversky": region(hits / (hits + 0.3 * wrong + 0.7 * missed)),
    }


@every
@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 999),
    ignored=st.sampled_from([0.0, 0.3, 0.9]),
    share=st.floats(0, 1),
    weighted=st.booleans(),
)
def test_a_loss_is_that_of_the_labelled_pixels_alone(
    loss_type: str, mode: str, seed: int, ignored: float, share: float, weighted: bool
) -> None:
    logits, target = batch(mode, seed, ignored)
    numbers = (0.5, 2.0, 1.0, 0.5)[: 2 if mode == "binary" else 4]
    weights = torch.tensor(numbers) if weighted else torch.ones(len(numbers))
    parts = reference(logits, target, mode, weights)
    expected = sum(part * parts[name] for name, part in loss_shares(loss_type, share).items())
    loss = make(loss_type, mode, numbers if weighted else None, dice_weight=share)
    assert loss(logits, target).item() == pytest.approx(expected, abs=1e-4)


def test_the_losses_of_two_pixels_are_those_worked_out_by_hand() -> None:
    """Of two pixels, the first of class 1 with probability 3/4, the second of class 0 with 1/2."""
    logits = torch.tensor([[[[math.log(3), 0.0]]]])
    pair = torch.cat([torch.zeros_like(logits), logits], 1)
    target = torch.tensor([[[1, 0]]])
    entropy = (math.log(4 / 3) + math.log(2)) / 2
    focal = (0.25 * 0.25**2 * math.log(4 / 3) + 0.75 * 0.5**2 * math.log(2)) / 2
    softmax_focal = (0.25**2 * math.log(4 / 3) + 0.5**2 * math.log(2)) / 2
    dice_1 = 1 - 2 * 0.75 / (1.25 + 1)
    dice_0 = 1 - 2 * 0.5 / (0.75 + 1)
    tversky_1 = 1 - 0.75 / (0.75 + 0.3 * 0.5 + 0.7 * 0.25)
    expected = {
        ("ce", "binary"): entropy,
        ("ce", "multiclass"): entropy,
        ("focal", "binary"): focal,
        ("focal", "multiclass"): softmax_focal,
        ("dice", "binary"): dice_1,
        ("dice", "multiclass"): (dice_0 + dice_1) / 2,
        ("tversky", "binary"): tversky_1,
        ("dice_ce", "binary"): 0.5 * dice_1 + 0.5 * entropy,
        ("focal_dice", "binary"): 0.5 * dice_1 + 0.5 * focal,
        ("combo", "binary"): 0.4 * entropy + 0.3 * dice_1 + 0.3 * focal,
    }
    for (name, mode), value in expected.items():
        found = make(name, mode)(logits if mode == "binary" else pair, target)
        assert found.item() == pytest.approx(value, rel=1e-5), (name, mode)


def test_the_binary_focal_loss_is_the_librarys() -> None:
    logits, target = batch("binary", 5, 0.3)
    oracle = smp.losses.FocalLoss("binary", alpha=0.4, gamma=1.5, ignore_index=IGNORE_INDEX)
    loss = make("focal", "binary", focal_alpha=0.4, focal_gamma=1.5)
    assert loss(logits, target).item() == pytest.approx(oracle(logits, target).item(), rel=1e-5)


def test_weighted_cross_entropy_is_torchs() -> None:
    logits, target = batch("multiclass", 6, 0.3)
    weights = (0.1, 1.0, 3.0, 0.5)
    oracle = F.cross_entropy(logits, target.long(), torch.tensor(weights), ignore_index=255)
    assert make("ce", "multiclass", weights)(logits, target).item() == pytest.approx(oracle.item())


@every
def test_the_gradient_is_the_slope_of_the_loss(loss_type: str, mode: str) -> None:
    logits, target = batch(mode, 7, 0.3)
    loss = make(loss_type, mode)
    point = (logits[:1, :, :3, :3] / 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, target[:1, :3, :3]), (point,))


@every
def test_ignored_pixels_change_neither_loss_nor_gradient(loss_type: str, mode: str) -> None:
    logits, target = batch(mode, 1, 0.5)
    ignored = (target == IGNORE_INDEX)[:, None].expand_as(logits)
    logits.requires_grad_()
    criterion = make(loss_type, mode)
    loss = criterion(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).any()
    other = torch.where(ignored, -logits, logits)
    assert torch.equal(loss, criterion(other, target))


@every
@pytest.mark.parametrize("weighted", [False, True])
def test_a_batch_without_a_label_costs_nothing(loss_type: str, mode: str, weighted: bool) -> None:
    logits, target = batch(mode, 2, 1.1)
    logits.requires_grad_()
    weights = (1.0, 2.0, 3.0, 4.0)[: 2 if mode == "binary" else 4] if weighted else None
    loss = make(loss_type, mode, weights)(logits, target)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@every
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_logits_stay_finite(loss_type: str, mode: str, gamma: float) -> None:
    logits, target = batch(mode, 3, 0.2)
    extreme = (logits * 1e4).requires_grad_()
    loss = make(loss_type, mode, focal_gamma=gamma)(extreme, target)
    loss.backward()
    assert torch.isfinite(loss)
    assert extreme.grad is not None
    assert torch.isfinite(extreme.grad).all()


@every
def test_a_sure_and_right_answer_costs_next_to_nothing(loss_type: str, mode: str) -> None:
    _, target = batch(mode, 4, 0.2)
    classes = 2 if mode == "binary" else 4
    hot = F.one_hot(target.long() % 255 % classes, classes).movedim(-1, 1).float()
    logits = 60 * (hot[:, 1:] * 2 - 1 if mode == "binary" else hot)
    assert make(loss_type, mode)(logits, target).item() < 1e-4


def test_a_focal_loss_without_focus_is_cross_entropy() -> None:
    logits, target = batch("multiclass", 8, 0.2)
    focal = make("focal", "multiclass", focal_gamma=0.0)(logits, target)
    assert focal.item() == pytest.approx(make("ce", "multiclass")(logits, target).item())


def test_tversky_with_equal_weights_of_a_half_is_dice() -> None:
    logits, target = batch("multiclass", 9, 0.2)
    tversky = make("tversky", "multiclass", tversky_alpha=0.5, tversky_beta=0.5)(logits, target)
    assert tversky.item() == pytest.approx(make("dice", "multiclass")(logits, target).item())


def test_shares_add_up_to_one() -> None:
    for name in LOSSES:
        assert sum(loss_shares(name, 0.3).values()) == pytest.approx(1)
