"""How scenes and time series are opened: one set of options for functions and command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from seg4eo_xr.options import OptionSet, require_choice
from seg4eo_xr.scenes.rasters import Chunks  # noqa: TC001  (the command line reads annotations)
from seg4eo_xr.scenes.resampling import Resampling


@dataclass(frozen=True)
class SceneOptions(OptionSet):
    """How a scene is opened.

    Parameters
    ----------
    band_names
        New names of all bands. By default: the file's band descriptions; of several files without
        descriptions their stems; else ``band_1``, ``band_2`` and so on.
    bands
        Bands to keep, by name, in the wanted order; all by default.
    nodata
        Stored number that marks missing data; by default what the source says. What the masks or
        the alpha band of a file hide is missing as well.
    keep_alpha
        Keep a band that a file marks as alpha (transparency) as a band of the scene, such as near
        infrared of aerial images. By default it says which pixels are missing.
    chunks
        Side of a dask chunk in pixels, or sides by dimension. ``auto`` takes multiples of the
        file's blocks of about 6 MB, or of 32 MB where a file has no tiles, and leaves arrays as
        they are.
    resolution
        Pixel size of the scene, which allows for bands of different resolutions: ``finest`` takes
        the grid of the finest source, a number of CRS units that grid's extent in such pixels. By
        default all bands must lie on one grid.
    resampling
        How bands are brought onto another grid. ``nearest`` keeps the stored numbers;
        ``bilinear`` and ``cubic`` are smoother, ``average`` suits a coarser grid.
    scale
        Physical value = stored number × scale + offset, of all bands; by default what the source
        says. For files whose tags were lost, as 0.0001 of reflectances × 10000.
    offset
        What is added to the scaled numbers of all bands; by default what the source says.
    harmonize
        Bring Sentinel-2 numbers to the convention of before 2022: ``auto`` takes off the offset
        that the metadata or the name of the file state, a number such as 1000 just that. By default
        numbers stay as they are; see `seg4eo_xr.harmonize`.
    """

    band_names: tuple[str, ...] | None = None
    bands: tuple[str, ...] | None = None
    nodata: float | None = None
    keep_alpha: bool = False
    chunks: Chunks = "auto"
    resolution: float | Literal["finest"] | None = None
    resampling: Resampling = "nearest"
    scale: float | None = None
    offset: float | None = None
    harmonize: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        require_choice("resampling", self.resampling, get_args(Resampling))
        if self.scale == 0:
            raise ValueError("scale must not be 0, which makes all values alike")
        if isinstance(self.harmonize, str):
            require_choice("harmonize", self.harmonize, ("auto",))
        if isinstance(self.resolution, str):
            require_choice("resolution", self.resolution, ("finest",))
        elif self.resolution is not None and not 0 < self.resolution < float("inf"):
            raise ValueError(
                f"resolution must be 'finest' or a pixel size above 0, got {self.resolution}"
            )
