"""The options of a training, for the Python API and the command line alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from seg4eo_xr.models.zoo import ModelName, require_model

Mode = Literal["binary", "multiclass"]
LossType = Literal["dice_ce"]
SchedulerType = Literal["reduce_plateau", "cosine", "one_cycle"]
Device = Literal["auto", "cpu", "cuda", "mps"]

_AT_LEAST_ONE = ("epochs", "batch_size", "patience", "threads")
_ABOVE_ZERO = ("learning_rate", "gradient_clip")


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run; each has a default that suits a first try.

    Raises
    ------
    ValueError
        If a number is out of range or a name is unknown.

    Examples
    --------
    >>> TrainConfig(model="unet++", epochs=5).scheduler_type
    'reduce_plateau'
    """

    model: ModelName = "unet"
    """Architecture of the network."""
    encoder_name: str = "resnet34"
    """Encoder of the network; `seg4eo-xr models` lists them, and timm's are named tu-NAME."""
    pretrained: bool = True
    """Start from published encoder weights, which are fetched from the network once."""
    mode: Mode | None = None
    """Two classes by one output, or one output a class; left out, the number of classes decides."""
    loss_type: LossType = "dice_ce"
    """Loss: Dice and cross-entropy, mixed."""
    dice_weight: float = 0.5
    """Share of Dice in the loss, 0 to 1."""
    epochs: int = 100
    """Most passes over the training patches."""
    batch_size: int = 8
    """Patches a step."""
    learning_rate: float = 5e-4
    """Step size of AdamW; the peak of it with one_cycle."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient of all weights."""
    scheduler_type: SchedulerType = "reduce_plateau"
    """Learning rate: halved when the validation loss stalls, or falling step by step."""
    patience: int = 15
    """Epochs without a better validation loss after which the training stops early."""
    data_augmentation: bool = True
    """Flip and turn the training patches at random."""
    use_amp: bool = False
    """Mixed precision: bfloat16 where the device has it, else float16."""
    random_seed: int = 42
    """Seed of the first weights, the order of the patches and the augmentation."""
    device: Device = "auto"
    """Where to train; auto takes an accelerator if there is one."""
    threads: int = 2
    """Threads that read patches ahead."""

    def __post_init__(self) -> None:
        require_model(self.model)
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in _ABOVE_ZERO:
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        _require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "at least 0")
        _require(0 <= self.dice_weight <= 1, "dice_weight", self.dice_weight, "from 0 to 1")
        _require(self.random_seed >= 0, "random_seed", self.random_seed, "at least 0")
        hints = get_type_hints(type(self))
        for name in ("loss_type", "scheduler_type", "device"):
            choices = get_args(hints[name])
            accepted = f"one of {', '.join(choices)}"
            _require(getattr(self, name) in choices, name, getattr(self, name), accepted)
        _require(
            self.mode in (None, *get_args(Mode)),
            "mode",
            self.mode,
            "one of binary, multiclass, or None to tell by the number of classes",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, mapping: dict[str, Any]) -> TrainConfig:
        """Rebuild the options from a checkpoint's; entries that are no options are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in mapping.items() if name in known})

    def resolve_mode(self, classes: int) -> Mode:
        """Mode for a number of classes, where `mode` leaves it open.

        Raises
        ------
        ValueError
            If there are fewer than two classes, or a binary network is asked to tell more apart.
        """
        if classes < 2:
            raise ValueError(
                f"the labels have {classes} class, a segmentation needs at least 2; label the "
                "background with a code of its own"
            )
        if self.mode == "binary" and classes != 2:
            raise ValueError(
                f"mode 'binary' tells 2 classes apart, the store has {classes}; "
                "leave mode out, or set it to 'multiclass'"
            )
        return self.mode or ("binary" if classes == 2 else "multiclass")


def _require(holds: bool, name: str, value: object, accepted: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {accepted}, got {value!r}")
