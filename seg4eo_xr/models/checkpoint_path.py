"""Paths of checkpoints, looked at without loading torch."""

from __future__ import annotations

from pathlib import Path

REMEDY = "give a .pth file that a training run of seg4eo_xr left, as model_best_iou.pth"
_BEST = "model_best_iou.pth"


def require_model_file(path: str | Path) -> None:
    """Raise where there is no file of a network; of a folder, name the files in it.

    Parameters
    ----------
    path
        What the user gave as the model.

    Raises
    ------
    IsADirectoryError
        If it is a folder, as that of a training run.
    FileNotFoundError
        If there is nothing.
    """
    path = Path(path)
    if path.is_file():
        return
    if not path.is_dir():
        raise FileNotFoundError(f"no checkpoint file {path}; {REMEDY}")
    names = sorted(file.name for file in (*path.glob("*.pth"), *path.glob("*.safetensors")))
    if not names:
        raise IsADirectoryError(f"{path} is a folder without a checkpoint; {REMEDY}")
    best = _BEST if _BEST in names else names[0]
    raise IsADirectoryError(
        f"{path} is a folder; give one of the checkpoints in it ({', '.join(names)}), as "
        f"{path / best}"
    )
