"""The ground of a patch store's splits as zones: a map judged where it was not taught."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seg4eo_xr.geometry.splits import SPLITS
from seg4eo_xr.patches.store import PatchStore, open_store
from seg4eo_xr.training.leaks import flattering

if TYPE_CHECKING:
    import geopandas as gpd

    from seg4eo_xr.geometry.leakage import LeakageReport

SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class SplitCheck:
    """How far apart the splits are that a map is judged on.

    Parameters
    ----------
    report
        The store's.
    warnings
        What flatters the scores of the test patches.
    """

    report: LeakageReport
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Tell distances, what is shared, and what flatters the scores."""
        return [*self.report.lines(), *(f"warning: {text}" for text in self.warnings)]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON."""
        return {**self.report.to_dict(), "warnings": list(self.warnings)}


def store_of(zones: object) -> PatchStore | None:
    """Open zones that are a patch store, or the path of one; None where they are something else.

    Raises
    ------
    ValueError
        If it is a Zarr store of another kind.
    """
    if isinstance(zones, PatchStore):
        return zones
    is_path = isinstance(zones, str) or hasattr(zones, "__fspath__")
    if not is_path or not Path(str(zones), "zarr.json").is_file():
        return None
    return open_store(str(zones))


def check_splits(store: PatchStore) -> SplitCheck:
    """Take a store's leakage report, and what in it flatters scores."""
    return SplitCheck(store.leakage, tuple(flattering(store.leakage, store.patch_size)))


def split_areas(store: PatchStore) -> gpd.GeoDataFrame:
    """Outline the patches that train, validate and test.

    Parameters
    ----------
    store
        The store.

    Returns
    -------
    GeoDataFrame
        A polygon a patch with its ``split``, in the CRS of the first scene; unused ones are left
        out.
    """
    import geopandas as gpd
    import pandas as pd
    import shapely

    scene = store.coordinate("scene")
    row, col, height, width = store.shown_windows()
    used = np.isin(store.splits, SPLITS)
    frames: list[gpd.GeoDataFrame] = []
    for number in range(len(store.attrs["scenes"])):
        transform, crs = store.grid_of_scene(number)
        own = used & (scene == number)
        left, right = (transform.c + transform.a * edge for edge in (col, col + width))
        top, bottom = (transform.f + transform.e * edge for edge in (row, row + height))
        outlines = shapely.box(left[own], bottom[own], right[own], top[own])
        frame = gpd.GeoDataFrame({SPLIT_COLUMN: store.splits[own]}, geometry=outlines, crs=crs)
        frames.append(frame if not frames else frame.to_crs(frames[0].crs))
    areas: gpd.GeoDataFrame = pd.concat(frames, ignore_index=True)
    # in the order of the splits, in which zones are told
    order = areas[SPLIT_COLUMN].map({name: place for place, name in enumerate(SPLITS)})
    return areas.loc[order.sort_values(kind="stable").index].reset_index(drop=True)
