"""Hold a scene against a model's contract before anything runs."""

from __future__ import annotations

import warnings
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.notices import Seg4EOWarning, warn
from seg4eo_xr.scenes.grid import grid_transform
from seg4eo_xr.scenes.harmonize import (
    dark_numbers,
    lowering,
    probable_shift,
    raised_by,
    reflects,
)
from seg4eo_xr.scenes.missing import SceneWarning
from seg4eo_xr.scenes.open import band_names_of, select_bands
from seg4eo_xr.scenes.undeclared import constant_margin, is_suspicious, margin_text

if TYPE_CHECKING:
    import xarray as xr

    from seg4eo_xr.scenes.contract import Contract

# Networks see texture: beyond a tenth of a pixel's size objects look different to them.
PIXEL_TOLERANCE = 0.1

# Fewer pixels than this say nothing about a scene.
_FEWEST_VALUES = 100

_RENAME_BANDS = (
    "if they only have other names, rename them with open_scene(..., band_names=[...]) or "
    "--band_names"
)
_NAME_BANDS_OF_MODEL = (
    "the model does not know the names of its bands: give them in the order of its training, as "
    "--model_bands B04 B03 B02 (model_bands of load_checkpoint), where the scene has these names, "
    "from its file or from --band_names"
)

# A single band of real numbers that are larger elsewhere is no sign of Sentinel-2.
_FEWEST_BANDS = 2


class ContractWarning(Seg4EOWarning):
    """A scene differs from what the model was trained on, in a way that may be meant."""


def ground_sample_distance(scene: xr.DataArray) -> tuple[float, float]:
    """Size of a pixel on the ground at the scene's centre.

    Measured along the WGS 84 ellipsoid, so that scenes in metres, feet, degrees or Web Mercator
    compare with each other. The height of a slanted pixel is the distance of its upper and lower
    side.

    Parameters
    ----------
    scene
        Array with dimensions ``y`` and ``x``, a CRS and a transform.

    Returns
    -------
    tuple of float
        Width and height of a pixel in metres.

    Raises
    ------
    ValueError
        If the scene has no CRS.
    """
    import pyproj
    from rasterio.transform import xy

    if scene.rio.crs is None:
        raise ValueError("the scene has no CRS; set it with scene.rio.write_crs('EPSG:...')")
    crs = pyproj.CRS.from_user_input(scene.rio.crs)
    transform = grid_transform(scene, "the scene")
    row, col = scene.sizes["y"] / 2, scene.sizes["x"] / 2
    corners = xy(transform, [row, row, row + 1], [col, col + 1, col], offset="ul")
    if crs.geodetic_crs is None:
        factor = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
        return abs(transform.a) * factor, abs(transform.e) * factor
    to_degrees = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lon, lat = to_degrees.transform(*corners)
    geod = crs.get_geod() or pyproj.Geod(ellps="WGS84")
    along, _, width = geod.inv(lon[0], lat[0], lon[1], lat[1])
    down, _, side = geod.inv(lon[0], lat[0], lon[2], lat[2])
    # far from the meridian of a sinusoidal grid pixels are slanted, but not higher
    height = side * abs(np.sin(np.deg2rad(down - along)))
    return float(width), float(height)


def conform(scene: xr.DataArray, contract: Contract) -> xr.DataArray:
    """Pick and order a scene's bands by name, and check the rest of the contract.

    Parameters
    ----------
    scene
        ``(band, y, x)`` with band names as the ``band`` coordinate.
    contract
        What the model expects.

    Returns
    -------
    DataArray
        The same numbers, the contract's bands in the contract's order; nothing is read.

    Raises
    ------
    ValueError
        If a band is missing.

    Warns
    -----
    ContractWarning
        If pixels differ in size by more than a tenth from those of all training scenes, or if the
        model knows its bands by their positions alone and the scene's have other names.
    """
    wanted = contract.ground_sample_distance
    if np.isnan(wanted).any():
        return _bands_by_position(scene, contract)
    scene = _pick_bands(scene, contract.bands)
    ours = ground_sample_distance(scene)
    nearest = np.clip(ours, *np.reshape(contract.pixel_range or (*wanted, *wanted), (2, 2)))
    if not np.allclose(ours, nearest, rtol=PIXEL_TOLERANCE):
        warnings.warn(
            f"the scene's pixels are {ours[0]:.4g} × {ours[1]:.4g} m, but the model was trained on "
            f"{contract.pixels_text}; resample the scene, or expect poorer results",
            ContractWarning,
            stacklevel=3,
        )
    return scene


def _bands_by_position(scene: xr.DataArray, contract: Contract) -> xr.DataArray:
    """Take the bands of a model that may not know their names, as it knows no pixel size."""
    names = tuple(band_names_of(scene))
    unnamed = tuple(f"band_{number}" for number in range(1, len(contract.bands) + 1))
    if contract.bands != unnamed:
        return _pick_bands(scene, contract.bands)
    if len(names) != len(unnamed) or names == unnamed:
        return _pick_bands(scene, contract.bands, _NAME_BANDS_OF_MODEL)
    warnings.warn(
        f"the model does not know the names of its {len(names)} bands; the scene's are taken in "
        f"their order, {', '.join(names)}: name the model's with --model_bands "
        "(model_bands of load_checkpoint) where it was trained on another order",
        ContractWarning,
        stacklevel=4,
    )
    return scene


def _pick_bands(
    scene: xr.DataArray, wanted: tuple[str, ...], remedy: str = _RENAME_BANDS
) -> xr.DataArray:
    names = band_names_of(scene)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(
            f"the model needs the {len(wanted)} bands {list(wanted)}, but the scene has the "
            f"{len(names)} bands {names}: {missing} are missing; {remedy}"
        )
    return select_bands(scene, wanted)


class ValueCheck:
    """Holds a scene's numbers, chunk by chunk, against what the model was trained on.

    Each warning comes once, from the first chunk that gives reason for it.

    Parameters
    ----------
    trained
        The contract with the scaling of the training scenes, for advice.
    inherits
        Whether the scene states no nodata value, so that the training's marks its missing pixels.
    """

    def __init__(self, trained: Contract, inherits: bool = False) -> None:
        self.trained = trained
        self.inherits = inherits
        self._told: set[str] = set()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[ValueCheck], tuple[Contract, bool]]:
        return ValueCheck, (self.trained, self.inherits)

    def __dask_tokenize__(self) -> str:
        return "ValueCheck"  # it changes no number

    def __call__(self, values: np.ndarray, valid: np.ndarray, contract: Contract) -> None:
        """Warn where a chunk's numbers cannot be what the model was trained on.

        A band is suspect where most values lie outside the training range, as digital numbers do
        where reflectances were meant, or where nothing exceeds a hundredth of it, as in the
        opposite case. All are where the scene's dtype cannot hold the bright values of the
        training, as in an 8-bit copy. All bands are also held against Sentinel-2's two conventions.

        Parameters
        ----------
        values
            Stored numbers, ``(band, y, x)``; a sample of a chunk will do.
        valid
            Which pixels hold data, ``(y, x)``.
        contract
            Scaling of the scene, and the range of each band in training.

        Warns
        -----
        ContractWarning
            Where all bands seem shifted, or else where some are suspect; and where the nodata value
            of the training makes holes in a scene that states none; each once.
        SceneWarning
            Where a margin of one number looks like missing pixels that are not declared; once.
        """
        if self.inherits:
            # what is NaN is missing without the training's nodata value
            lost = ~valid & np.isfinite(values).all(axis=0)
            if lost.any() and self._is_new("nodata"):
                warn(_inherited_text(lost, contract), ContractWarning, stacklevel=2)
        if np.count_nonzero(valid) < _FEWEST_VALUES:
            return
        margin = constant_margin(values, valid)
        if margin is not None and is_suspicious(margin[1]) and self._is_new("margin"):
            warn(margin_text(*margin, "one part of the scene"), SceneWarning, stacklevel=2)
        numbers = values[:, valid]
        topic, text = "offset", _offset_text(numbers, contract)
        if text is None:  # what is shifted may well lie outside the range of the training
            topic, text = "range", _range_text(numbers, contract, self.trained)
        if text is not None and self._is_new(topic):
            warn(text, ContractWarning, stacklevel=2)

    def _is_new(self, topic: str) -> bool:
        with self._lock:
            new = topic not in self._told
            self._told.add(topic)
        return new


def _inherited_text(lost: np.ndarray, contract: Contract) -> str:
    """Say how many pixels are missing by the training's nodata value alone."""
    return (
        f"{lost.mean():.1%} of the pixels in one part of the scene become nodata in the map, "
        f"since they are {contract.nodata:g}, the nodata value of the training scenes, and the "
        f"scene states none: if they are missing, say so with --nodata {contract.nodata:g} "
        f"(nodata={contract.nodata:g}); if they are data, give a number that no pixel has"
    )


def _range_text(numbers: np.ndarray, contract: Contract, trained: Contract) -> str | None:
    """Complain of bands whose numbers ``(band, pixel)`` lie outside those of the training."""
    limits = zip(contract.minimum, contract.maximum, strict=True)
    strange = [
        f"{band} (trained on {lowest:.4g} to {highest:.4g})"
        for band, (lowest, highest), is_strange in zip(
            contract.bands, limits, _outside(numbers, contract), strict=True
        )
        if is_strange
    ]
    if not strange:
        return None
    # What follows the colon may be another in each chunk: workers' warnings are merged by the rest.
    return (
        f"the scene holds values that the model never saw: most of {', '.join(strange)} in one "
        f"part of it; {_range_remedy(numbers, contract, trained)}"
    )


def _outside(numbers: np.ndarray, contract: Contract) -> np.ndarray:
    """Tell which bands hold numbers ``(band, pixel)`` that the model cannot know."""
    upper = np.array(contract.normalization.upper)
    lowest, highest = np.array(contract.minimum), np.array(contract.maximum)
    is_copy = numbers.dtype.kind in "iu" and numbers.dtype != contract.dtype
    if is_copy and contract.normalization.kind == "percentile":
        # One of fewer bits has no bright numbers, and need not lie outside the range.
        top = np.iinfo(numbers.dtype).max * np.array(contract.scale) + np.array(contract.offset)
        if (top < upper).all():
            return np.ones(len(numbers), bool)
    values = numbers * np.array(contract.scale)[:, None] + np.array(contract.offset)[:, None]
    beyond = (values < lowest[:, None]) | (values > highest[:, None])
    faint = (lowest >= 0) & (values.max(axis=1) < 0.01 * upper)
    return np.asarray((beyond.mean(axis=1) > 0.5) | faint)


def _range_remedy(numbers: np.ndarray, contract: Contract, trained: Contract) -> str:
    """Advise the training's scaling or none where numbers fit with it; else look at the data."""
    bands = len(contract.bands)
    plain = replace(contract, scale=(1.0,) * bands, offset=(0.0,) * bands)
    if (plain.scale, plain.offset) != (contract.scale, contract.offset) and not _outside(
        numbers, plain
    ).any():
        return (
            "they fit as they are, so that the scaling in the scene's attributes (scales, offsets) "
            "or tags seems to have been applied before: open it with --scale 1 --offset 0 "
            "(scale=1, offset=0)"
        )
    scaling = trained.scale, trained.offset
    rescaled = replace(contract, scale=scaling[0], offset=scaling[1])
    if scaling != (contract.scale, contract.offset) and not _outside(numbers, rescaled).any():
        alike = all(len(set(column)) == 1 for column in scaling)
        scale, offset = trained.scale[0], trained.offset[0]
        return "they fit the scaling of the training scenes: " + (
            f"--scale {scale:g} --offset {offset:g} (scale={scale:g}, offset={offset:g})"
            if alike
            else "set the attributes scales and offsets, which differ by band"
        )
    return (
        f"the model was trained on {trained.dtype} and the scene is {numbers.dtype}: check that it "
        "is of the same sensor and product, that its bands have the right names (--band_names, "
        "band_names=[...]) and that missing pixels are marked (--nodata, nodata=...)"
    )


def _offset_text(numbers: np.ndarray, contract: Contract) -> str | None:
    """Complain where reflectances follow the other convention than those of the training."""
    scale, offset = np.array(contract.scale), np.array(contract.offset)
    dark, bright = (
        (np.array(physical) - offset) / scale
        for physical in (contract.dark or contract.minimum, contract.normalization.upper)
    )
    shift = raised_by(numbers.dtype, float(bright.max()))
    if shift is None or (numbers.dtype.kind == "f" and len(numbers) < _FEWEST_BANDS):
        return None
    is_band = np.array([reflects(band) for band in contract.bands])
    dark = np.where(is_band, dark, np.nan)
    # Below a minimum lies more than below a percentile.
    most = 1.4 if contract.dark else 2.0
    found = probable_shift(dark, dark_numbers(numbers), shift=shift, most=most)
    if not found:
        return None
    remedy = (
        f"lower them with {lowering(shift, numbers.dtype)}"
        if found > 0
        else "make the training patches of lowered numbers, with --harmonize auto"
    )
    return (
        f"the scene's numbers seem {'raised' if found > 0 else 'lowered'} by {shift:g} against "
        "those of the training: Sentinel-2 has stored reflectance differently since processing "
        f"baseline 04.00; {remedy}, or ignore this over haze, clouds and snow"
    )
