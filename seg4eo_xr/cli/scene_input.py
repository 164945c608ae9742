"""What a command works on: scenes from files, put together and cut to an area."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from seg4eo_xr.cli.command import one_or_many
from seg4eo_xr.scenes.scene_options import SceneOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr


@dataclass(frozen=True, kw_only=True)
class SceneInput:
    """A scene, or a mosaic of scenes."""

    input: tuple[str, ...]
    """The scene: one file, or several whose bands are put together."""
    mosaic: bool = False
    """The inputs are scenes that lie side by side: they become one, without seams."""
    area: Path | None = None
    """Vector file with polygons: nothing else is read and mapped."""
    scene: SceneOptions = field(default_factory=SceneOptions)
    """How the scene is opened."""

    def open(self, nodata: float | None = None) -> xr.DataArray:
        """Open the scene, or the mosaic, lazily.

        Parameters
        ----------
        nodata
            Number for pixels outside of the area, where the scene has none.
        """
        from seg4eo_xr.scenes.mosaics import open_mosaic
        from seg4eo_xr.scenes.open import open_scene

        if self.mosaic:
            return self._clipped(open_mosaic(self.input, self.scene), nodata)
        return self._clipped(open_scene(one_or_many(self.input), self.scene), nodata)

    def _clipped(self, scene: xr.DataArray, nodata: float | None) -> xr.DataArray:
        from seg4eo_xr.scenes.clipping import clip_scene

        return scene if self.area is None else clip_scene(scene, self.area, nodata=nodata)


@dataclass(frozen=True, kw_only=True)
class SeriesInput(SceneInput):
    """A scene, a mosaic of scenes, or a time series."""

    series: bool = False
    """The inputs are one scene at several dates, which are in the names of the files; or a Zarr
    store with the dimension time."""

    def __post_init__(self) -> None:
        if self.mosaic and self.series:
            raise ValueError(
                "--mosaic makes one scene of the inputs, --series one a date; give one of them"
            )

    def openers(self, nodata: float | None = None) -> dict[str, Callable[[], xr.DataArray]]:
        """Functions that open each input as a scene of its own, by the name of its file.

        Parameters
        ----------
        nodata
            Number for pixels outside of the area, where a scene has none.

        Raises
        ------
        ValueError
            If two inputs have the same name.
        """
        named: dict[str, str] = {}
        for path in self.input:
            other = named.setdefault(Path(path).stem, path)
            if other is not path:
                raise ValueError(
                    f"{other!r} and {path!r} have the same name, so that their maps would have "
                    "too; map them into different folders (--output)"
                )
        return {name: partial(self._opened, path, nodata) for name, path in named.items()}

    def _opened(self, path: str, nodata: float | None) -> xr.DataArray:
        from seg4eo_xr.scenes.open import open_scene

        return self._clipped(open_scene(path, self.scene), nodata)

    def open_series(self, nodata: float | None = None) -> dict[str, xr.DataArray]:
        """Open the scenes of a time series, by date, each from its own file where it has one.

        Parameters
        ----------
        nodata
            Number for pixels outside of the area, where a scene has none.

        Raises
        ------
        ValueError
            If a date is missing or occurs twice.
        """
        from seg4eo_xr.scenes.cubes import open_cube, scenes_of
        from seg4eo_xr.scenes.open import is_zarr

        whole = len(self.input) == 1 and is_zarr(self.input[0])
        scenes: dict[str, xr.DataArray] = {}
        for source in self.input:
            cube = open_cube(source if whole else [source], options=self.scene)
            for date, scene in scenes_of(cube).items():
                if date in scenes:
                    raise ValueError(
                        f"the date {date} of {source} occurs twice; map such scenes one by one, or "
                        "as one with --mosaic"
                    )
                scenes[date] = self._clipped(scene, nodata)
        return dict(sorted(scenes.items()))
