"""Loggers of other makers by name, beside the table that every run writes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from seg4eo_xr.training.config import Logger

_PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


def make_loggers(names: tuple[Logger, ...], folder: Path) -> list[Any]:
    """Make Lightning's loggers.

    Parameters
    ----------
    names
        ``csv`` needs none, it is the run's own table.
    folder
        The run's folder, into which they write.

    Raises
    ------
    ImportError
        If the package behind a logger is not installed.
    """
    require_loggers(names)
    made: list[Any] = []
    if "tensorboard" in names:
        from lightning.pytorch.loggers import TensorBoardLogger

        made.append(TensorBoardLogger(folder, name="tensorboard", version=""))
    if "wandb" in names:
        from lightning.pytorch.loggers import WandbLogger

        made.append(WandbLogger(name=folder.name, save_dir=folder, project="seg4eo_xr"))
    return made


def require_loggers(names: tuple[Logger, ...]) -> None:
    """Raise an ImportError where the package behind a logger is not installed."""
    for name in names:
        packages = _PACKAGES.get(name, ())
        if packages and not any(map(find_spec, packages)):
            raise ImportError(
                f"the logger {name!r} needs the package {packages[0]}: pip install {packages[0]}, "
                "or leave it out of --logger"
            )
