"""Sentinel-2's two conventions of stored numbers, told apart and brought to one.

Since processing baseline 04.00 (25 January 2022) all reflectances are stored 1000 higher. Scenes of
both conventions look alike to every check of form, and a model that sees both learns neither.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from seg4eo_xr.notices import Seg4EOWarning
from seg4eo_xr.scenes.bands import band_names_of, band_scaling, with_band_attrs
from seg4eo_xr.scenes.classes import require_scene
from seg4eo_xr.scenes.naming import baseline_of_name, date_of_name

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import ArrayLike

BOA_SHIFT = 1000
_BRIGHTEST_REFLECTANCE = 10.0
_FIRST_SHIFTED = 4.0
_STORED = np.dtype(np.uint16)
_FIRST_DAY = np.datetime64("2022-01-25")
# Layers of a product that hold no reflectance and so no offset: by their whole name, and by a part
# of longer ones, as of T33UUP_20220301T101031_SCL_20m.
_NO_REFLECTANCE = {"visual", "cloud", "snow"}
_NO_REFLECTANCE_PART = {"scl", "aot", "wvp", "tci", "cld", "snw", "cldprb", "snwprb"}
_APPLIED = "boa_offset_applied"
_OFFSET_KEYS = ("boa_add_offset", "radio_add_offset")
_BASELINE_KEYS = ("s2:processing_baseline", "processing_baseline", "sentinel:processing_baseline")
_NAME_KEYS = ("s2:product_uri", "product_uri", "s2:product_id", "source")


class OffsetWarning(Seg4EOWarning):
    """Scenes seem to store reflectances by different conventions."""


def stored_shift(metadata: Mapping[str, Any] | str | Path) -> int | None:
    """By how much a Sentinel-2 product's numbers are raised, as its metadata say.

    Parameters
    ----------
    metadata
        Properties of a STAC item, tags of a file (``scene.attrs``), or the name of a product.

    Returns
    -------
    int or None
        1000 since baseline 04.00, 0 before it or where the offset was taken off already; None where
        the metadata do not tell.

    Examples
    --------
    >>> stored_shift({"s2:processing_baseline": "05.09"})
    1000
    >>> stored_shift({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True})
    0
    >>> stored_shift("S2A_MSIL2A_20210603T101031_N0300_R022_T33UUP_20210603T120000")
    0
    """
    if not isinstance(metadata, Mapping):
        return _shift_of_baseline(baseline_of_name(metadata))
    tags = {str(key).lower(): value for key, value in metadata.items()}
    if _says_applied(metadata):
        return 0
    offsets = {
        round(float(value))
        for key, value in tags.items()
        if any(key.startswith(start) for start in _OFFSET_KEYS) and value is not None
    }
    if len(offsets) == 1:
        return -offsets.pop()
    stated = (_baseline(str(tags.get(key, ""))) for key in _BASELINE_KEYS)
    named = (baseline_of_name(str(tags[key])) for key in _NAME_KEYS if tags.get(key))
    found = (baseline for baseline in chain(stated, named) if baseline)
    return _shift_of_baseline(next(found, None))


def harmonize(
    scene: xr.DataArray,
    metadata: Mapping[str, Any] | str | Path | None = None,
    *,
    shift: int | None = None,
) -> xr.DataArray:
    """Bring a Sentinel-2 scene to the numbers of before 2022, lazily: reflectance × 10000.

    The offset that the scene itself states, as ``offsets`` of -0.1 at ``scales`` of 0.0001, is
    moved into the numbers, so that physical values stay; otherwise `metadata` say it. The result is
    marked by the attribute ``boa_offset_applied``, and a scene with this mark is not lowered again,
    whatever `metadata` and `shift` say.

    Parameters
    ----------
    scene
        Stored integers ``(band, y, x)`` or ``(time, band, y, x)``.
    metadata
        What tells the convention, as in `stored_shift`; by default the scene's attributes, and then
        the name of its file.
    shift
        Number to take off, if you know it: 1000, or 0 where there is nothing to do.

    Returns
    -------
    DataArray
        In the same dtype. Nodata stays nodata, and no measured number becomes it: what would fall
        to nodata or below the dtype's range becomes the smallest number above. SCL and other layers
        without reflectance stay as they are.

    Raises
    ------
    ValueError
        If nothing tells the convention, `shift` contradicts the offset that the scene states, or
        the scene holds real numbers.

    Examples
    --------
    >>> from seg4eo_xr.testing import synthetic_sentinel2
    >>> scene, _ = synthetic_sentinel2((8, 8))
    >>> raised = scene.where(scene == 0, scene + 1000).astype("uint16").assign_attrs(scene.attrs)
    >>> bool((harmonize(raised, "S2A_N0511.SAFE") == scene).all())
    True
    """
    require_scene(scene, "the array")
    scales, offsets = band_scaling(scene)
    stated = [round(-offset / scale) for scale, offset in zip(scales, offsets, strict=True)]
    if is_harmonized(scene):
        # Some catalogues state the offset of numbers that they have lowered already.
        shifts = [0] * len(scales)
    elif any(stated):
        _require_stated(shift, stated)
        shifts = stated
    else:
        shift = _told_shift(scene, metadata) if shift is None else int(shift)
        shifts = [shift if reflects(name) else 0 for name in band_names_of(scene)]
    if any(shifts):
        if scene.dtype.kind not in "ui":
            raise ValueError(
                f"the scene holds {scene.dtype}, not the stored integers that have the offset; "
                "harmonize it before any arithmetic, or pass shift=0 (--harmonize 0)"
            )
        scene = scene.copy(data=_lowered(scene.data, scene.rio.nodata, tuple(shifts)))
    none = (0.0,) * len(offsets)
    return with_band_attrs(scene, scales, none).assign_attrs({_APPLIED: "true"})


def harmonize_files(scenes: Sequence[xr.DataArray], names: Sequence[str]) -> list[xr.DataArray]:
    """Harmonize files that become the bands of one scene, each by its own metadata or name.

    Parameters
    ----------
    scenes
        A scene of each file.
    names
        Names of all bands in the stack, by which layers without reflectance are known.

    Returns
    -------
    list of DataArray
        Real numbers of a file that states no convention, such as heights, stay as they are.

    Raises
    ------
    ValueError
        As in `harmonize`.
    """
    result, first = [], 0
    for scene in scenes:
        last = first + scene.sizes["band"]
        named = scene.assign_coords(band=list(names[first:last]))
        named = with_band_attrs(named, *band_scaling(scene))
        silent = not any(band_scaling(named)[1]) and _shift_of_metadata(named, None) is None
        unlike = named.dtype.kind == "f" or not any(map(reflects, names[first:last]))
        marked = scene.assign_attrs({_APPLIED: "true"})
        result.append(marked if silent and unlike else harmonize(named))
        first = last
    return result


def is_harmonized(scene: xr.DataArray) -> bool:
    """Tell whether a scene's attributes say that Sentinel-2's offset was taken off."""
    return _says_applied(scene.attrs)


def _says_applied(metadata: Mapping[Any, Any]) -> bool:
    return any(
        str(key).lower().endswith(_APPLIED) and str(value).lower() in ("true", "1", "yes")
        for key, value in metadata.items()
    )


def unmarked(scene: xr.DataArray) -> xr.DataArray:
    """Return a scene without what says that its offset was taken off."""
    result = scene.copy(deep=False)
    result.attrs = {
        key: value for key, value in scene.attrs.items() if not _says_applied({key: value})
    }
    return result


def _require_stated(shift: int | None, stated: Sequence[int]) -> None:
    """Raise ValueError unless the bands' own offsets lower numbers, by `shift` if it is given."""
    if min(stated) < 0:
        raise ValueError(
            f"the offsets of the bands raise stored numbers by up to {-min(stated)}, which those "
            "of Sentinel-2 do not; leave harmonize (--harmonize) out, since physical values are "
            "right without it"
        )
    if shift is not None and any(own not in (0, shift) for own in stated):
        raise ValueError(
            f"shift={shift} (--harmonize {shift}) contradicts the scene, whose offsets say that "
            f"its numbers are raised by {max(stated)}; omit the shift (--harmonize auto), or "
            "correct the offsets with --offset 0 (offset=0)"
        )


def of_one_convention(scenes: Sequence[xr.DataArray], names: Sequence[str]) -> bool:
    """Tell whether all scenes that are to become one have been harmonized; warn where some need it.

    Parameters
    ----------
    scenes
        Scenes with the same scaling, whose attributes or file names may tell the convention.
    names
        What the warning calls them.

    Warns
    -----
    OffsetWarning
        If the numbers of some are raised and those of others are not, as their metadata say.
    """
    if any(any(band_scaling(scene)[1]) for scene in scenes):
        return False
    shifts = [_shift_of_metadata(scene, None) for scene in scenes]
    raised = [name for name, shift in zip(names, shifts, strict=True) if shift]
    if raised and 0 in shifts:
        warnings.warn(
            f"the numbers of {len(raised)} of {len(scenes)} scenes are raised by {BOA_SHIFT}, as "
            f"their metadata say, and those of others are not: {', '.join(raised[:5])}"
            f"{' ...' if len(raised) > 5 else ''}; bring them to one convention with --harmonize "
            "auto (harmonize='auto')",
            OffsetWarning,
            stacklevel=3,
        )
    return all(is_harmonized(scene) for scene in scenes)


def reflects(band: str) -> bool:
    """Tell whether a band of that name may hold reflectance.

    Examples
    --------
    >>> reflects("B04"), reflects("T33UUP_20220301T101031_SCL_20m")
    (True, False)
    """
    name = band.lower()
    return name not in _NO_REFLECTANCE and _NO_REFLECTANCE_PART.isdisjoint(
        re.split(r"[^a-z0-9]+", name)
    )


def lower_block(values: np.ndarray, nodata: float | None, shifts: tuple[int, ...]) -> np.ndarray:
    """Take off a number a band in one block ``(..., band, y, x)``: the kernel.

    Examples
    --------
    >>> lower_block(np.array([0, 500, 1000, 1003], np.uint16).reshape(1, 2, 2), 0, (1000,))
    array([[[0, 1],
            [1, 3]]], dtype=uint16)
    """
    limits = np.iinfo(values.dtype)
    lowered = values.astype(np.int64) - np.array(shifts, np.int64)[:, None, None]
    lowered = np.clip(lowered, limits.min, limits.max)
    if nodata is not None and limits.min <= nodata <= limits.max:
        number = int(nodata)
        beside = number + 1 if number < limits.max else number - 1
        shifted = np.array(shifts)[:, None, None] != 0
        lowered = np.where((lowered == number) & shifted, beside, lowered)
        lowered = np.where(values == number, number, lowered)
    return lowered.astype(values.dtype)


def dark_numbers(sample: np.ndarray) -> np.ndarray:
    """First percentile per band, which shows whether reflectance is stored raised.

    Parameters
    ----------
    sample
        Stored numbers ``(band, pixel)`` of pixels with data.

    Returns
    -------
    ndarray of float64, ``(band,)``
        Pixels with numbers above 0 in less than half of the bands are left out: they are a border
        that nothing marks as missing. NaN where what is left says nothing, as of a band that is all
        alike.

    Examples
    --------
    >>> dark_numbers(np.array([[0, 0, 200, 210, 220], [0, 0, 7, 7, 7]]))
    array([200.2,   nan])
    """
    dark = np.full(len(sample), np.nan)
    known = sample[:, 2 * np.count_nonzero(sample > 0, axis=0) >= len(sample)]
    if known.size:
        # for some hundred pixels `numpy.percentile` takes ten times as long as the sorting
        ordered = np.sort(known, axis=1)
        low, high = (_percentile(ordered, q) for q in (0.01, 0.99))
        dark[low < high] = low[low < high]
    return dark


def _percentile(ordered: np.ndarray, q: float) -> np.ndarray:
    """Quantile of each row of sorted numbers, interpolated as `numpy.quantile` does."""
    place = q * (ordered.shape[1] - 1)
    below, above = (ordered[:, round_(place)].astype(float) for round_ in (math.floor, math.ceil))
    return np.asarray(below + (above - below) * (place % 1))


def raised_by(dtype: np.dtype, brightest: float) -> float | None:
    """Return what Sentinel-2's offset adds to stored numbers of this kind; None if not known.

    Parameters
    ----------
    dtype
        Of the stored numbers: integers hold reflectance × 10000, real numbers these or reflectance.
    brightest
        A large stored number of the scenes.
    """
    if dtype.kind in "ui":
        return BOA_SHIFT if dtype.itemsize > 1 else None
    if brightest > _BRIGHTEST_REFLECTANCE:
        return BOA_SHIFT if brightest > 10 * _BRIGHTEST_REFLECTANCE else None
    return BOA_SHIFT / 1e4


def probable_shift(
    dark: ArrayLike, other: ArrayLike, *, shift: float = BOA_SHIFT, most: float = 1.4
) -> float:
    """Guess from dark numbers whether two scenes store reflectance by different conventions.

    In every scene some pixels are almost black in some band, unless its numbers are raised. So one
    scene that stays above `shift` in all bands, another that does not, and a distance of about
    `shift` in the typical band, make it probable. A guess: haze, snow or clouds shift numbers too.

    Parameters
    ----------
    dark, other
        Low percentiles (the first, say) of the stored numbers, one per band, as `dark_numbers` of
        the scenes gives them. NaN where a band says nothing. One band in five may be no
        reflectance, as of heights, and stay where it is.
    shift
        Distance between the conventions.
    most
        Largest distance in the typical band, as a multiple of `shift`.

    Returns
    -------
    float
        `shift` where `other` seems raised, ``-shift`` where `dark` does, 0 where neither does.

    Examples
    --------
    >>> probable_shift([210, 160, 90], [1240, 1130, 1060])
    1000
    >>> probable_shift([210, 160, 90], [320, 250, 140])
    0
    """
    ours, theirs = np.broadcast_arrays(np.asarray(dark, float), np.asarray(other, float))
    known = np.isfinite(ours) & np.isfinite(theirs)
    # a tenth below: noise of dark water
    stays = (abs(theirs - ours) <= 0.1 * shift) & (np.fmin(ours, theirs) < 0.9 * shift)
    if 5 * np.count_nonzero(stays & known) <= np.count_nonzero(known):
        known &= ~stays
    if not known.any():
        return 0
    if np.median((theirs - ours)[known]) < 0:
        return -probable_shift(other, dark, shift=shift, most=most)
    ours, theirs = ours[known], theirs[known]
    near = 0.6 * shift <= np.median(theirs - ours) <= most * shift
    apart = theirs.min() >= 0.9 * shift > ours.min()
    return shift if near and apart else 0


def check_offsets(
    dark: Mapping[str, ArrayLike], dtype: np.dtype = _STORED, *, shift: float = BOA_SHIFT
) -> list[str]:
    """Warn where some scenes' numbers seem raised by Sentinel-2's offset and others' do not.

    Parameters
    ----------
    dark
        Low percentiles of stored numbers by scene, as in `probable_shift`.
    dtype
        Of the stored numbers, on which the remedy depends.
    shift
        Distance between the conventions, as `raised_by` gives it.

    Returns
    -------
    list of str
        Scenes that seem raised, in the order given.

    Warns
    -----
    OffsetWarning
        If there are any beside others that are not.

    Examples
    --------
    >>> check_offsets({"2021": [210, 160, 90], "2020": [320, 250, 140]})
    []
    """
    low = [
        numbers for numbers in dark.values() if np.nanmin([shift, *_flat(numbers)]) < 0.9 * shift
    ]
    raised = [
        name
        for name, numbers in dark.items()
        if any(probable_shift(other, numbers, shift=shift) > 0 for other in low)
    ]
    if raised:
        warnings.warn(
            f"{len(raised)} of {len(dark)} scenes seem to hold numbers raised by {shift:g}: "
            f"{', '.join(raised[:5])}{' ...' if len(raised) > 5 else ''}. Sentinel-2 has stored "
            "reflectance so since processing baseline 04.00; bring all scenes to one convention "
            f"with {lowering(shift, dtype)} for those, or ignore this if they are just brighter",
            OffsetWarning,
            stacklevel=2,
        )
    return raised


def lowering(shift: float, dtype: np.dtype) -> str:
    """What lowers numbers that are raised by `shift`, for messages; real numbers get an offset."""
    if dtype.kind in "ui":
        return f"harmonize(scene, shift={shift:g}) or --harmonize {shift:g} (harmonize={shift:g})"
    return f"--offset -{shift:g} (offset=-{shift:g})"


def _flat(numbers: ArrayLike) -> list[float]:
    return [float(number) for number in np.asarray(numbers, float).ravel()]


def _baseline(text: str) -> float | None:
    """Processing baseline of ``04.00``, ``N04.00`` or, as in names of products, ``N0400``."""
    found = re.fullmatch(r"[Nn]?(\d{1,2})[.]?(\d{2}|\d)?", text.strip())
    return float(f"{found[1]}.{found[2] or 0}") if found else None


def _shift_of_baseline(baseline: float | None) -> int | None:
    if baseline is None:
        return None
    return BOA_SHIFT if baseline >= _FIRST_SHIFTED else 0


def _told_shift(scene: xr.DataArray, metadata: Mapping[str, Any] | str | Path | None) -> int:
    """What the given metadata say, or the scene's own, or the name of its file."""
    shift = _shift_of_metadata(scene, metadata)
    if shift is not None:
        return shift
    source = scene.encoding.get("source")
    name = metadata if isinstance(metadata, (str, Path)) else source
    date = None if name is None else date_of_name(name)
    hint = ""
    if date is not None:
        since = date >= _FIRST_DAY
        hint = (
            f"; it was taken on {np.datetime_as_string(date, 'D')}, so the offset is "
            f"{'probably' if since else 'likely not'} there, unless it was processed anew"
        )
    what = repr(str(name)) if name else "the scene"
    raise ValueError(
        f"nothing tells whether the numbers of {what} are raised by {BOA_SHIFT}{hint}; pass "
        "shift=1000 or shift=0 (--harmonize 1000, --harmonize 0), or metadata= with the processing "
        "baseline"
    )


def _shift_of_metadata(
    scene: xr.DataArray, metadata: Mapping[str, Any] | str | Path | None
) -> int | None:
    source = scene.encoding.get("source")
    told = [metadata] if metadata is not None else [scene.attrs, *([source] if source else [])]
    shifts = (stored_shift(candidate) for candidate in told)
    return next((shift for shift in shifts if shift is not None), None)


def _lowered(data: Any, nodata: float | None, shifts: tuple[int, ...]) -> Any:
    if not isinstance(data, da.Array):
        return lower_block(np.asarray(data), nodata, shifts)
    whole = data.rechunk({data.ndim - 3: -1}, method="tasks")
    return whole.map_blocks(lower_block, nodata, shifts, dtype=data.dtype, meta=data._meta)
