"""What commands write, looked at before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def require_writable(*, report: Path | None = None, figure: Path | None = None) -> None:
    """Raise where figures could not be written in the end; None was not asked for.

    Parameters
    ----------
    report
        A JSON file.
    figure
        A picture.

    Raises
    ------
    ValueError
        If a report does not end in .json, or a picture has no suffix of one: what stands there is
        replaced, so that the wrong name would cost a map or a sample.
    FileNotFoundError, OSError
        If the folder does not exist or cannot be written to, or the path is that of a folder.
    """
    from seg4eo_xr.canvas import require_picture
    from seg4eo_xr.staging import staging

    if report is not None and report.suffix.lower() != ".json":
        raise ValueError(
            f"figures are written as JSON, so the name must end in .json, got {report}"
        )
    if figure is not None:
        require_picture(figure)
    for path in (report, figure):
        if path is None:
            continue
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; give the path of a file in it")
        with staging(path, overwrite=True):
            pass


def map_writer(option: str, path: Path) -> Callable[..., Path]:
    """Choose what writes a map by the suffix of its path.

    Parameters
    ----------
    option
        What gave the path, as ``--output``.
    path
        Of the map.

    Raises
    ------
    ValueError
        If it ends in nothing that a map can be.
    """
    from seg4eo_xr.maps.cog import write_cog
    from seg4eo_xr.maps.store import write_zarr

    if path.suffix != ".zarr" and path.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{option} must end in .tif, .tiff or .zarr, got {path}")
    return write_zarr if path.suffix == ".zarr" else write_cog
