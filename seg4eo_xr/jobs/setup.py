"""What a job is, before any tile runs: its kernel, its tiles, its empty map and its fingerprint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
from dask.base import tokenize

import seg4eo_xr
from seg4eo_xr.geometry.tiles import tile_grid
from seg4eo_xr.inference.predict import as_map, make_runner, of_scene
from seg4eo_xr.jobs.tile_work import TileWork
from seg4eo_xr.maps.arrays import create_coordinates, create_layer
from seg4eo_xr.maps.layers import checked_map
from seg4eo_xr.scenes.pixel_areas import PixelAreas
from seg4eo_xr.scenes.resampling import Grid

if TYPE_CHECKING:
    import xarray as xr

    from seg4eo_xr.geometry.tiles import TileGrid
    from seg4eo_xr.inference.layers import LayerName
    from seg4eo_xr.inference.options import PredictOptions
    from seg4eo_xr.inference.window_runner import WindowRunner
    from seg4eo_xr.jobs.run_folder import RunFolder
    from seg4eo_xr.models.checkpoint import Checkpoint

# Statistics need them, whatever is stored.
_COUNTED: tuple[LayerName, ...] = ("classes", "confidence")


@dataclass(frozen=True, eq=False)
class JobSetup:
    """One prediction of one scene, cut into tiles.

    Parameters
    ----------
    scene
        Stored numbers, ``(band, y, x)``, lazy, in the bands of the model.
    checkpoint, options
        What to run, and how.
    runner
        The kernel.
    grid
        The tiles.
    """

    scene: xr.DataArray
    checkpoint: Checkpoint
    options: PredictOptions
    runner: WindowRunner
    grid: TileGrid

    @classmethod
    def of(
        cls, scene: xr.DataArray, checkpoint: Checkpoint, options: PredictOptions, tile_size: int
    ) -> JobSetup:
        """Lay windows, chunks and tiles over a scene.

        Parameters
        ----------
        scene
            As `conform` gives it.
        checkpoint, options
            What to run, and how.
        tile_size
            Wanted side of a tile in pixels.

        Raises
        ------
        ValueError
            If an option does not fit the scene or the model.
        """
        layers = (*options.layers, *(name for name in _COUNTED if name not in options.layers))
        shape = scene.sizes["y"], scene.sizes["x"]
        runner = make_runner(shape, checkpoint, replace(options, layers=layers))
        grid = tile_grid(
            *(spans[0].axis for spans in runner.spans),
            tile_size=tile_size,
            windows_per_chunk=options.windows_per_chunk,
        )
        return cls(scene, checkpoint, options, of_scene(runner, scene), grid)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the map's bytes depend on, by names that a user knows; fit for JSON."""
        import torch

        runner, axis = self.runner, self.grid.vertical.axis
        settings = {
            **asdict(self.options),
            "patch_size": axis.window,
            "overlap": axis.overlap,
            "batch_size": runner.batch_size,
            "precision": runner.network.precision,
            "device": runner.network.device,
            "compile": runner.network.compile,
            "output_nodata": runner.encoding.nodata,
            "windows_per_chunk": self.grid.vertical.windows_per_chunk,
            "tile_size": self.grid.vertical.tile_size,
            "model": runner.network.token,
            "classes": self.checkpoint.contract.classes.to_dict(),
            "contract": tokenize(self.runner.contract),
            "input": tokenize(self.scene.data, Grid.of(self.scene)),
            "versions": f"seg4eo_xr {seg4eo_xr.__version__}, torch {torch.__version__}",
        }
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain

    def empty_map(self) -> xr.Dataset:
        """Return the map with all that describes it, and without numbers."""
        shape, codes = self.scene.shape[-2:], self.runner.encoding.codes
        layers = {}
        for name in self.options.layers:
            leading = (len(codes),) if name == "probabilities" else ()
            layers[name] = da.zeros(
                (*leading, *shape), chunks=-1, dtype=self.runner.encoding.dtype(name)
            )
        filled = as_map(layers, self.scene, self.runner, self.checkpoint, self.options)
        return checked_map(filled)

    def create(self, store: str) -> None:
        """Make the coordinates and the empty arrays of the map; those that are there stay.

        Parameters
        ----------
        store
            Folder or URL of the map.
        """
        empty = self.empty_map()
        create_coordinates(store, empty.coords)
        for layer in empty.data_vars.values():
            create_layer(store, layer, (*(1,) * (layer.ndim - 2), *self.grid.chunk))

    def work(self, run: RunFolder) -> TileWork:
        """Return what the workers need."""
        return TileWork(
            scene=da.asarray(self.scene.data),
            runner=self.runner,
            grid=self.grid,
            layers=self.options.layers,
            classes=self.checkpoint.contract.classes,
            areas=PixelAreas(Grid.of(self.scene)),
            store=str(run.store),
            markers=str(run.markers),
        )
