"""Hold a scene against a model's contract before anything runs."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from seg4eo_xr.notices import Seg4EOWarning, warn
from seg4eo_xr.scenes.grid import grid_transform
from seg4eo_xr.scenes.harmonize import BOA_SHIFT, probable_shift
from seg4eo_xr.scenes.open import band_names_of, select_bands

if TYPE_CHECKING:
    import xarray as xr

    from seg4eo_xr.scenes.contract import Contract

# Networks see texture: beyond a tenth of a pixel's size objects look different to them.
_RESOLUTION_TOLERANCE = 0.1

# Fewer pixels than this say nothing about a scene.
_FEWEST_VALUES = 100


class ContractWarning(Seg4EOWarning):
    """A scene differs from what the model was trained on, in a way that may be meant."""


def ground_sample_distance(scene: xr.DataArray) -> tuple[float, float]:
    """Size of a pixel on the ground at the scene's centre.

    Measured along the WGS 84 ellipsoid, so that scenes in metres, feet, degrees or Web Mercator
    compare with each other.

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
    _, _, width = geod.inv(lon[0], lat[0], lon[1], lat[1])
    _, _, height = geod.inv(lon[0], lat[0], lon[2], lat[2])
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
        If pixels differ in size by more than a tenth, or if the model knows its bands by their
        positions alone and the scene's have other names.
    """
    wanted = contract.ground_sample_distance
    if np.isnan(wanted).any():
        return _bands_by_position(scene, contract)
    scene = _pick_bands(scene, contract.bands)
    ours = ground_sample_distance(scene)
    if not np.allclose(ours, wanted, rtol=_RESOLUTION_TOLERANCE):
        warnings.warn(
            f"the scene's pixels are {ours[0]:.4g} × {ours[1]:.4g} m, but the model was trained on "
            f"{wanted[0]:.4g} × {wanted[1]:.4g} m; resample the scene, or expect poorer results",
            ContractWarning,
            stacklevel=3,
        )
    return scene


def _bands_by_position(scene: xr.DataArray, contract: Contract) -> xr.DataArray:
    """Take the bands of a model that may not know their names, as it knows no pixel size."""
    names = tuple(band_names_of(scene))
    unnamed = tuple(f"band_{number}" for number in range(1, len(names) + 1))
    if contract.bands != unnamed or names == unnamed:
        return _pick_bands(scene, contract.bands)
    warnings.warn(
        f"the model does not know the names of its {len(names)} bands; the scene's are taken in "
        f"their order, {', '.join(names)}: name the model's with --model_bands "
        "(model_bands of load_checkpoint) where it was trained on another order",
        ContractWarning,
        stacklevel=4,
    )
    return scene


def _pick_bands(scene: xr.DataArray, wanted: tuple[str, ...]) -> xr.DataArray:
    names = band_names_of(scene)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(
            f"the model needs the {len(wanted)} bands {list(wanted)}, but the scene has the "
            f"{len(names)} bands {names}: {missing} are missing; if they only bear other names, "
            "rename them with open_scene(..., band_names=[...]) or --band_names"
        )
    return select_bands(scene, wanted)


def check_values(values: np.ndarray, valid: np.ndarray, contract: Contract) -> None:
    """Warn where a scene's numbers cannot be what the model was trained on.

    A band is suspect where most values lie outside the training range, as digital numbers do where
    reflectances were meant, or where nothing exceeds a hundredth of it, as in the opposite case.
    Reflectances × 10000 are also held against Sentinel-2's two conventions.

    Parameters
    ----------
    values
        Stored numbers, ``(band, y, x)``; a sample of a scene will do.
    valid
        Which pixels hold data, ``(y, x)``.
    contract
        Scaling, and the range of each band in training.

    Warns
    -----
    ContractWarning
        Once for all suspect bands, and once where all bands seem shifted.
    """
    if np.count_nonzero(valid) < _FEWEST_VALUES:
        return
    _check_offset(values[:, valid], contract)
    limits = zip(contract.minimum, contract.maximum, contract.normalization.upper, strict=True)
    strange = []
    for band, (lowest, highest, upper) in enumerate(limits):
        numbers = values[band][valid] * contract.scale[band] + contract.offset[band]
        outside = np.mean((numbers < lowest) | (numbers > highest))
        faint = lowest >= 0 and numbers.max() < 0.01 * upper
        if outside > 0.5 or faint:
            strange.append(f"{contract.bands[band]} (trained on {lowest:.4g} to {highest:.4g})")
    if strange:
        warn(
            f"the scene holds values that the model never saw in {', '.join(strange)}; check its "
            "scale and offset, and give them where its tags are lost: --scale 0.0001 "
            "(scale=0.0001), --offset -0.1 (offset=-0.1)",
            ContractWarning,
            stacklevel=2,
        )


def _check_offset(numbers: np.ndarray, contract: Contract) -> None:
    """Warn where reflectances seem to follow the other convention than those of the training."""
    if not np.allclose(contract.scale, 1e-4):
        return
    darkest = (np.array(contract.minimum) - contract.offset) / contract.scale
    shift = probable_shift(darkest, np.percentile(numbers, 1, axis=1))
    if shift:
        warn(
            f"the scene's numbers seem {'raised' if shift > 0 else 'lowered'} by {BOA_SHIFT} "
            "against those of the training: Sentinel-2 has stored reflectance differently since "
            "processing baseline 04.00; bring both to one convention with harmonize(scene), or "
            "ignore this over haze and snow",
            ContractWarning,
            stacklevel=3,
        )
