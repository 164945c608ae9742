"""The options of a training, for the Python API and the command line alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from seg4eo_xr.models.zoo import ModelName, require_model
from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.options import OptionSet, require_choice

if TYPE_CHECKING:
    from collections.abc import Mapping

Mode = Literal["binary", "multiclass"]
LossType = Literal["ce", "dice", "dice_ce", "focal", "focal_dice", "tversky", "combo"]
ClassWeightRule = Literal["inverse_frequency", "effective_number"]
SchedulerType = Literal["reduce_plateau", "cosine", "one_cycle"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Logger = Literal["csv", "tensorboard", "wandb"]

_CHOICES = {
    "loss_type": get_args(LossType),
    "class_weight_rule": get_args(ClassWeightRule),
    "scheduler_type": get_args(SchedulerType),
    "device": get_args(Device),
}
_AT_LEAST_ONE = ("epochs", "patience", "threads", "devices", "freeze_epochs")
_AT_LEAST_ZERO = (
    "weight_decay",
    "gradient_clip",
    "focal_gamma",
    "tversky_alpha",
    "tversky_beta",
    "warmup_epochs",
    "random_seed",
    "save_every",
)
_ABOVE_ZERO = ("learning_rate", "warmup_lr")


class TrainingWarning(Seg4EOWarning):
    """A training begins, and will end otherwise than may be wanted."""


@dataclass(frozen=True)
class TrainConfig(OptionSet):
    """Options of a training run; each has a default that suits a first try.

    Raises
    ------
    ValueError
        If a number is out of range, a name is unknown, or options contradict each other.

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
    encoder_weights: str | None = None
    """File with encoder weights to start from instead, for work without a network."""
    dropout_rate: float = 0.3
    """Share of the channels that unet-dropout drops at random in a step."""
    mode: Mode | None = None
    """Two classes by one output, or one output a class; left out, the number of classes decides."""
    classes: int | None = None
    """Number of classes, held against the store's; left out, the store's."""
    class_names: tuple[str, ...] = ()
    """Names of the classes, in the order of their codes; left out, the store's."""
    in_channels: int | None = None
    """Number of bands, held against the store's; left out, the store's."""
    loss_type: LossType = "dice_ce"
    """Loss; combo is 0.4 cross-entropy, 0.3 Dice and 0.3 focal."""
    dice_weight: float = 0.5
    """Share of Dice in dice_ce and focal_dice, 0 to 1."""
    focal_gamma: float = 2.0
    """How much the focal loss plays down pixels that are right already."""
    focal_alpha: float = 0.25
    """Focal loss of two classes: share of the second class, 0 to 1."""
    tversky_alpha: float = 0.3
    """Tversky loss: weight of pixels wrongly taken for a class."""
    tversky_beta: float = 0.7
    """Tversky loss: weight of pixels of a class that are missed."""
    use_class_weights: bool = False
    """Weigh the classes in the loss by how rare they are in the training patches."""
    class_weight_rule: ClassWeightRule = "inverse_frequency"
    """How rarity becomes a weight; effective_number spares the common classes."""
    class_weights: tuple[float, ...] = ()
    """Weights of your own, one a class in the order of the codes; they turn weighing on."""
    freeze_encoder: bool = False
    """Hold the encoder still at first, then train it at a tenth of the rate."""
    freeze_epochs: int = 5
    """Epochs in which the encoder is held, with freeze_encoder."""
    epochs: int = 100
    """Most passes over the training patches."""
    batch_size: int | Literal["auto"] = 8
    """Patches a step, over all devices; auto takes as many as a GPU's memory holds."""
    learning_rate: float = 5e-4
    """Step size of AdamW; the peak of it with one_cycle."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient of all weights; 0 sets no limit."""
    scheduler_type: SchedulerType = "reduce_plateau"
    """Learning rate: halved when the validation loss stalls, or falling step by step."""
    warmup_epochs: int = 0
    """Epochs in which the rate climbs from warmup_lr; with one_cycle, the length of its climb."""
    warmup_lr: float = 1e-6
    """Rate at which the warm-up begins."""
    patience: int = 15
    """Epochs without a better validation loss after which the training stops early."""
    data_augmentation: bool = True
    """Change the training patches at random, image and label together."""
    use_amp: bool = False
    """Mixed precision: bfloat16 where the device has it, else float16."""
    random_seed: int = 42
    """Seed of the first weights, the order of the patches, the augmentation and dropout."""
    device: Device = "auto"
    """Where to train; auto takes an accelerator if there is one."""
    devices: int = 1
    """How many of them, each with a process of its own that takes a share of every batch."""
    threads: int = 2
    """Threads that read patches ahead, a process."""
    logger: tuple[Logger, ...] = ("csv",)
    """Also log the epochs to TensorBoard or Weights & Biases; the CSV file is always there."""
    save_every: int = 300
    """Seconds between two states of an unfinished training that it can be resumed from; each epoch
    leaves one in any case."""

    def __post_init__(self) -> None:
        require_model(self.model)
        for name, choices in _CHOICES.items():
            require_choice(name, getattr(self, name), choices)
        self._require_numbers()
        modes = "one of binary, multiclass, or None to tell by the number of classes"
        _require(self.mode in (None, *get_args(Mode)), "mode", self.mode, modes)
        for logger in self.logger:
            require_choice("logger", logger, get_args(Logger))
        self._require_agreement()

    def _require_numbers(self) -> None:
        for name in _AT_LEAST_ONE:
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in _AT_LEAST_ZERO:
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in _ABOVE_ZERO:
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("dice_weight", "focal_alpha"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        size = self.batch_size
        fits = size == "auto" or (isinstance(size, int) and size >= 1)
        _require(fits, "batch_size", size, "at least 1, or 'auto'")
        rate = self.dropout_rate
        _require(0 <= rate < 1, "dropout_rate", rate, "at least 0 and below 1")

    def _require_agreement(self) -> None:
        weights = self.class_weights
        usable = all(weight >= 0 for weight in weights) and (not weights or sum(weights) > 0)
        _require(usable, "class_weights", weights, "numbers of at least 0, not all of them 0")
        _require(
            self.loss_type != "tversky" or self.tversky_alpha + self.tversky_beta > 0,
            "tversky_alpha + tversky_beta",
            self.tversky_alpha + self.tversky_beta,
            "above 0",
        )
        if self.warmup_epochs:
            _require(
                self.warmup_epochs < self.epochs,
                "warmup_epochs",
                self.warmup_epochs,
                f"less than epochs, {self.epochs}",
            )
            _require(
                self.warmup_lr <= self.learning_rate,
                "warmup_lr",
                self.warmup_lr,
                f"at most learning_rate, {self.learning_rate}",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> TrainConfig:
        """Rebuild the options from a checkpoint's; entries that are no options are left out."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {name: mapping[name] for name in mapping if name in known}
        for name in ("class_names", "class_weights", "logger"):
            if name in values:  # files know lists, and no tuples
                values[name] = tuple(values[name])
        return cls(**values)

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
