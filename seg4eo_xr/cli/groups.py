"""How help arranges and names what options take, where their dataclasses do not say it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_origin

from seg4eo_xr.kinds import choices_of, members_of

REQUIRED, OPTIONAL, RARE = "Required", "Options", "Rarely needed"

GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "TrainConfig": {
        "The network": (
            *("model", "encoder_name", "pretrained", "encoder_weights", "dropout_rate"),
            *("mode", "classes", "class_names", "in_channels"),
        ),
        "The loss": (
            *("loss_type", "dice_weight", "focal_gamma", "focal_alpha", "tversky_alpha"),
            *("tversky_beta", "use_class_weights", "class_weight_rule", "class_weights"),
        ),
        "Machine and log": ("device", "devices", "threads", "use_amp", "logger", "save_every"),
        RARE: ("weight_decay", "gradient_clip", "warmup_epochs", "warmup_lr"),
    },
    "ExtractOptions": {
        RARE: ("interpolation", "nodata_rule", "shard_size", "sampling_seed"),
    },
    "PredictOptions": {
        RARE: ("windows_per_chunk", "threshold", "probability_dtype", "output_nodata"),
    },
    "JobOptions": {
        RARE: ("retries", "max_failures", "no_workers_timeout", "stall_timeout"),
    },
}
"""Titles for some of a dataclass's fields."""

# Letters of all choices, above which the text lists them instead.
_LONGEST = 48

_PIXELS = (
    *("patch_size", "stride", "overlap", "tile_size", "split_block", "split_buffer", "fold_block"),
    *("fold_buffer", "training_patch_size", "ignore_border", "border_widths", "majority", "sieve"),
    *("min_pixels", "simplify"),
)
_METAVARS = {
    **dict.fromkeys(_PIXELS, "PIXELS"),
    **dict.fromkeys(("stall_timeout", "no_workers_timeout", "save_every"), "SECONDS"),
    **dict.fromkeys(("column", "id_column", "split_column", "zone_column", "order_by"), "COLUMN"),
    **dict.fromkeys(("bands", "band_names", "model_bands"), "BAND"),
    **dict.fromkeys(("save_dir", "data_dir"), "FOLDER"),
    **dict.fromkeys(("unlabelled", "class_codes", "ignore", "background", "output_nodata"), "CODE"),
    **dict.fromkeys(("dataset_root",), "STORE"),
    **dict.fromkeys(("image", "label", "input", "prediction", "reference", "map"), "FILE"),
    **dict.fromkeys(("before", "after", "confidence", "zones", "output", "sample"), "FILE"),
    **dict.fromkeys(("model", "encoder_weights"), "FILE"),
    **dict.fromkeys(("chunks",), "PIXELS|auto"),
    **dict.fromkeys(("resolution",), "SIZE|finest"),
    **dict.fromkeys(("harmonize",), "SHIFT|auto"),
    **dict.fromkeys(("batch_size",), "N"),
    **dict.fromkeys(("accuracies",), "NAME SHARE"),
    **dict.fromkeys(("image_pattern", "label_pattern", "grid_pattern"), "PATTERN"),
    **dict.fromkeys(("scheduler",), "ADDRESS"),
    **dict.fromkeys(("date",), "DATE"),
}
Folder = Annotated[Path, "FOLDER"]
"""Kind of an option that takes a folder, whatever its name."""

_BY_KIND = (("Path", "FILE"), ("int", "N"), ("float", "NUMBER"), ("str", "NAME"))


def metavar(name: str, kind: Any) -> str:
    """What stands for an option's value in help.

    Parameters
    ----------
    name, kind
        Of the option.

    Examples
    --------
    >>> metavar("patch_size", int), metavar("level", float)
    ('PIXELS', 'NUMBER')
    """
    if get_origin(kind) is Annotated:
        return str(kind.__metadata__[0])
    choices = choices_of(kind)
    if len(choices) > 1:
        return "{" + ",".join(choices) + "}" if sum(map(len, choices)) < _LONGEST else "NAME"
    if name in _METAVARS:
        return _METAVARS[name]
    shown = str(members_of(kind))
    return next((word for part, word in _BY_KIND if part in shown), "NAME")
