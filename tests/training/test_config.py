from __future__ import annotations

import inspect
import json
from dataclasses import fields
from typing import Any

import pytest

from seg4eo_xr.training.config import TrainConfig


def test_options_come_back_from_plain_values() -> None:
    config = TrainConfig(model="unet++", epochs=3, mode="binary", class_weights=(1.0, 2.0))
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert TrainConfig.from_dict({"epochs": 3, "of another release": 1}) == TrainConfig(epochs=3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model", "unet+", "unknown model 'unet\\+'; did you mean 'unet\\+\\+'\\?"),
        ("mode", "ternary", "mode must be one of binary, multiclass"),
        ("loss_type", "mse", "loss_type must be one of ce, dice, dice_ce, .*, combo, got 'mse'"),
        ("scheduler_type", "step", "reduce_plateau, cosine, one_cycle"),
        ("device", "tpu", "device must be one of auto"),
        ("dice_weight", 1.5, "from 0 to 1"),
        ("epochs", 0, "epochs must be at least 1, got 0"),
        ("batch_size", 0, "at least 1"),
        ("patience", 0, "at least 1"),
        ("threads", 0, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("gradient_clip", -1.0, "at least 0"),
        ("batch_size", "all", "at least 1, or 'auto', got 'all'"),
        ("devices", 0, "at least 1"),
        ("dropout_rate", 1.0, "below 1"),
        ("focal_alpha", 2.0, "from 0 to 1"),
        ("focal_gamma", -1.0, "at least 0"),
        ("warmup_lr", 0.0, "above 0"),
        ("warmup_epochs", 100, "warmup_epochs must be less than epochs, 100"),
        ("class_weights", (0.0, 0.0), "not all of them 0"),
        ("class_weights", (1.0, -1.0), "at least 0"),
        ("class_weight_rule", "median", "inverse_frequency, effective_number"),
        ("logger", ("csv", "mlflow"), "csv, tensorboard, wandb, got 'mlflow'"),
        ("weight_decay", -0.1, "at least 0"),
        ("random_seed", -1, "at least 0"),
    ],
)
def test_impossible_options_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("mode", "classes", "expected"),
    [(None, 2, "binary"), (None, 3, "multiclass"), ("multiclass", 2, "multiclass")],
)
def test_the_number_of_classes_tells_the_mode(mode: Any, classes: int, expected: str) -> None:
    assert TrainConfig(mode=mode).resolve_mode(classes) == expected


def test_modes_that_do_not_fit_the_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="'binary' tells 2 classes apart, the store has 3"):
        TrainConfig(mode="binary").resolve_mode(3)
    with pytest.raises(ValueError, match="at least 2"):
        TrainConfig().resolve_mode(1)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"warmup_lr must be at most learning_rate, 1e-05"):
        TrainConfig(learning_rate=1e-5, warmup_epochs=1, warmup_lr=1e-3)
    with pytest.raises(ValueError, match=r"tversky_alpha \+ tversky_beta must be above 0"):
        TrainConfig(loss_type="tversky", tversky_alpha=0, tversky_beta=0)


def test_every_option_says_what_it_does() -> None:
    source = inspect.getsource(TrainConfig)
    for field in fields(TrainConfig):
        following = source.split(f"    {field.name}:")[1].splitlines()[1]
        assert following.strip().startswith('"""'), field.name
