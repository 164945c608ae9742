"""Options of the scripts of SemanticSeg4EO that have another name here, or none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTRACT_NEEDLESS = {
    "label_channels": "labels have one band",
    "no_compression": "patches are compressed, without loss",
    "save_metadata": "the patch store holds it",
}
_TRAIN_NEEDLESS = {
    "no_class_weights": "classes are weighed only with --use_class_weights",
    "no_log_per_class": "the IoU of each class is in the log",
    "save_csv": "the log is written as CSV",
    "subdirectories": "training and validation patches are dealt to the folds",
}
_PREDICT_RENAMED = {"model_path": "model", "image_path": "input", "model_name": "architecture"}
_PREDICT_NEEDLESS = {
    "in_channels": "the checkpoint says it",
    "num_classes": "the checkpoint says it",
    "normalization_percentile": "it is 99, as in training",
}

_STORE_RENAMED = {"output": "dataset_root"}

_SCRIPTS = {
    "train": ("main", "train"),
    "predict": ("predict", "inference"),
    "extract single": ("patch_extraction", "extract"),
}
"""Commands for scripts, by what their names begin with or hold."""
_PATCH_MODES = {"batch": "extract batch", "info": "info", "visualize": "visualize"}

RENAMED = {
    "info": _STORE_RENAMED,
    "visualize": _STORE_RENAMED,
    "predict": _PREDICT_RENAMED,
    "plan": _PREDICT_RENAMED,
}
"""New names of old options, by command."""

NEEDLESS = {
    "extract single": _EXTRACT_NEEDLESS,
    "extract batch": {
        **_EXTRACT_NEEDLESS,
        "use_per_image_grid": "a scene's own grid, as Grid_1.shp, goes before the common one",
        "image_channels": "the first scene says it; --bands takes bands by name",
    },
    "visualize": {"image_channels": "the patch store says it; --bands takes bands by name"},
    "train": _TRAIN_NEEDLESS,
    "cross-validate": _TRAIN_NEEDLESS,
    "predict": _PREDICT_NEEDLESS,
    "plan": _PREDICT_NEEDLESS,
}
"""Old options that are left out, and why nothing is lost."""

_TRAIN_GONE = {
    "patch_subdir": "bring its folder into a patch store first: seg4eo-xr import --data_dir FOLDER "
    "--output patches.zarr",
    "patch_size": "patches have the size they were cut to: seg4eo-xr extract --patch_size SIZE",
}
GONE = {
    "train": _TRAIN_GONE,
    "cross-validate": _TRAIN_GONE,
    "predict": {
        "model_dir": "give the file itself, as --model {value}/unet++_best_iou.pth",
        "output_dir": "give the file to write, as --output {value}/map.tif",
        "background_value": "maps bear the codes of the labels; --class_codes gives others",
        "save_patches": "windows are not kept; --area maps a part of the scene",
    },
}
"""Old options that need another one, and which."""


def command_of_script(word: str, mode: str = "") -> str | None:
    """Name the command that does what a script does, in whatever version of it.

    Parameters
    ----------
    word
        The script.
    mode
        The word after it, which says what the script for patches does.

    Examples
    --------
    >>> command_of_script("model_training_v2.py"), command_of_script("train")
    ('train', None)
    >>> command_of_script("Patch_extraction.py", "info")
    'info'
    """
    name = Path(word).name.lower()
    if not name.endswith(".py"):
        return None
    for command, parts in _SCRIPTS.items():
        if any(part in name for part in parts):
            modes = _PATCH_MODES if command == "extract single" else {}
            return modes.get(mode, command)
    return None


def renamed(command: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Put new names for old options.

    Parameters
    ----------
    command
        Name of the command.
    words
        Its options and their values.

    Returns
    -------
    words : list of str
        The same in new names, without what is not needed any more.
    notes : list of str
        What was left out, and why.

    Raises
    ------
    ValueError
        If an option has to be said in another way; the message says how.

    Examples
    --------
    >>> renamed("predict", ["--model_path", "M.pth", "--in_channels", "10"])
    (['--model', 'M.pth'], ['--in_channels is not needed: the checkpoint says it'])
    """
    kept: list[str] = []
    notes: list[str] = []
    skipping = False
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        name = option[2:].replace("-", "_") if option.startswith("--") else ""
        if not name:
            if not skipping:
                kept.append(word)
            continue
        skipping = name in NEEDLESS.get(command, {})
        if name in GONE.get(command, {}):
            value = value or next(iter(words[place + 1 : place + 2]), "")
            told = GONE[command][name].format(value=value.rstrip("/"))
            raise ValueError(f"{option} is an option of the scripts; {told}{_at_hand(name, value)}")
        if skipping:
            _require_known_percentile(name, value or next(iter(words[place + 1 : place + 2]), ""))
            notes.append(f"{option} is not needed: {NEEDLESS[command][name]}")
            continue
        new = RENAMED.get(command, {}).get(name)
        kept.append(word if new is None else f"--{new}{equals}{value}")
    return kept, notes


def _require_known_percentile(name: str, value: str) -> None:
    """Raise where another percentile is asked for than the trainer's, which alone is known."""
    if name == "normalization_percentile" and value not in ("99", "99.0"):
        raise ValueError(
            f"--normalization_percentile {value} is not supported: checkpoints of the scripts were "
            "trained with 99; leave it out"
        )


def _at_hand(name: str, value: str) -> str:
    """Checkpoints of the folder that was given."""
    if name != "model_dir":
        return ""
    files = sorted(path.name for path in Path(value).glob("*.pth"))
    return f"; the folder holds {', '.join(files)}" if files else "; the folder holds no .pth file"
