from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch

from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.schedule import cosine_share, make_schedules


def rates(
    scheduler_type: str, epochs: int, steps_per_epoch: int, *, share: float = 1.0, **options: Any
) -> list[float]:
    """Rate of every step of a training whose validation loss never gets better."""
    config = TrainConfig(
        scheduler_type=scheduler_type,  # type: ignore[arg-type]
        epochs=epochs,
        learning_rate=0.01,
        patience=3,
        **options,
    )
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.01 * k} for k in (1, share)]
    optimizer = torch.optim.AdamW(groups)
    schedules = make_schedules(optimizer, config, steps_per_epoch=steps_per_epoch)
    found = []
    for epoch in range(epochs):
        for _ in range(steps_per_epoch):
            first, second = (group["lr"] for group in optimizer.param_groups)
            assert second == pytest.approx(first * share, rel=1e-6)
            found.append(first)
            optimizer.step()
            for schedule in schedules:
                if schedule["interval"] == "step":
                    schedule["scheduler"].step()
        for schedule in schedules:
            if schedule["interval"] == "epoch" and epoch >= config.warmup_epochs:
                schedule["scheduler"].step(1.0)
    return found


def test_one_cycle_climbs_to_the_rate_and_falls_to_nothing_within_the_training() -> None:
    course = rates("one_cycle", 10, 10)
    peak = course.index(max(course))
    assert max(course) == pytest.approx(0.01, rel=1e-3)
    assert 25 <= peak <= 33
    assert course[:peak] == sorted(course[:peak])
    assert course[peak:] == sorted(course[peak:], reverse=True)
    assert course[-1] < 1e-5


def test_cosine_falls_from_the_rate_to_a_hundredth() -> None:
    course = rates("cosine", 10, 10)
    assert course[0] == pytest.approx(0.01)
    assert course == sorted(course, reverse=True)
    assert course[-1] == pytest.approx(1e-4, rel=0.1)


def test_the_plateau_halves_the_rate_when_the_loss_stalls() -> None:
    course = rates("reduce_plateau", 9, 2)
    assert course[0] == 0.01
    assert 0.005 in course
    assert set(course) <= {0.01 / 2**k for k in range(6)}


@pytest.mark.parametrize("scheduler_type", ["one_cycle", "cosine", "reduce_plateau"])
def test_a_training_of_one_step_has_a_rate_above_zero(scheduler_type: str) -> None:
    assert rates(scheduler_type, 1, 1)[0] > 0


@pytest.mark.parametrize("scheduler_type", ["one_cycle", "cosine", "reduce_plateau"])
def test_a_warmup_climbs_from_its_rate_to_the_rate_and_the_schedule_follows(
    scheduler_type: str,
) -> None:
    course = rates(scheduler_type, 10, 6, share=0.1, warmup_epochs=2, warmup_lr=1e-5)
    assert course[0] == pytest.approx(1e-5)
    assert course[:13] == sorted(course[:13])
    assert course[12] == pytest.approx(0.01) == max(course)
    assert course[12:] == sorted(course[12:], reverse=True)
    assert course[-1] < 0.01
    assert max(abs(a - b) for a, b in pairwise(course)) <= 0.005


def test_a_cosine_ends_at_its_end_and_stays_there() -> None:
    assert cosine_share(10, steps=10) == pytest.approx(0.01)
    assert cosine_share(11, steps=10) == pytest.approx(0.01)
