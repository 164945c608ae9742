"""What a model expects of a scene: bands, scaling, resolution, normalisation, nodata and classes.

The contract is computed from the training split, stored in the patch store and in the checkpoint,
and enforced at prediction. `normalize` is the one function that turns a scene's numbers into a
network's input, in training and in prediction.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import array_api_compat
import numpy as np

from seg4eo_xr.html import Markup, card_html, lines_html, table_html, table_text
from seg4eo_xr.scenes.classes import ClassTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NodataRule = Literal["any", "all"]
NormalizationKind = Literal[
    "percentile", "standard", "none", "patch_percentile", "patch_percentile_all_bands"
]


@dataclass(frozen=True)
class Normalization:
    """Affine map of physical values, a band each: `lower` goes to 0 and `upper` to 1.

    Parameters
    ----------
    kind
        ``percentile``: `upper` is the training split's 99th percentile, `lower` is 0 or, where
        numbers are negative or lie far from 0, the 1st; values are clipped to 0..1;
        ``standard``: `lower` is the mean and `upper` the mean plus one standard deviation, no
        clipping; ``none``: values pass as they are; ``patch_percentile``: each band of each patch
        is divided by its own 99th percentile and clipped to 0..1, from the stored numbers;
        ``patch_percentile_all_bands``: the same with one 99th percentile of all bands of a patch.
    lower, upper
        One number per band, in physical units (after scale and offset).
    of_stored
        Whether `lower` and `upper` are stored numbers instead; scale and offset are not applied.
    """

    kind: NormalizationKind
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    of_stored: bool = False

    def __post_init__(self) -> None:
        if len(self.lower) != len(self.upper):
            raise ValueError(f"{len(self.lower)} lower but {len(self.upper)} upper bounds")
        if not np.isfinite([*self.lower, *self.upper]).all():
            raise ValueError(f"bounds must be finite, got {self.lower} and {self.upper}")

    @property
    def clips(self) -> bool:
        """Whether results are clipped to 0..1."""
        return self.kind == "percentile" or self.by_patch

    @property
    def by_patch(self) -> bool:
        """Whether each patch is normalised by its own numbers."""
        return self.kind in ("patch_percentile", "patch_percentile_all_bands")


@dataclass(frozen=True, repr=False, eq=False)
class Contract:
    """What a model expects of a scene.

    Parameters
    ----------
    bands
        Names of the bands in the network's order.
    dtype
        NumPy name of the dtype of the training scenes.
    scale, offset
        A band each: physical value = stored number × scale + offset.
    nodata
        Stored number that marks missing data, or None.
    nodata_rule
        A pixel is missing where ``any`` or where ``all`` of its bands are.
    ground_sample_distance
        Size of a pixel on the ground (x, y), in metres whatever the CRS, NaN where a model does not
        say; see `seg4eo_xr.scenes.conform.ground_sample_distance`.
    minimum, maximum
        Smallest and largest physical value a band in the training split.
    normalization
        How physical values become the network's input.
    classes
        Codes, names and colours of the classes, in the order of the network's outputs.
    ignore
        Label code that marks unlabelled pixels.
    dark
        Low physical value per band: the first percentile of a typical training patch, which shows
        by which convention Sentinel-2's numbers are stored. Empty where a model does not say.
    pixel_range
        Smallest width and height, and largest width and height, of a pixel of the training scenes
        on the ground, in metres. Empty where all have `ground_sample_distance`.
    """

    bands: tuple[str, ...]
    dtype: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    nodata: float | None
    nodata_rule: NodataRule
    ground_sample_distance: tuple[float, float]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    normalization: Normalization
    classes: ClassTable
    ignore: int = 255
    dark: tuple[float, ...] = ()
    pixel_range: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.bands)) != len(self.bands):
            raise ValueError(f"band names must differ from each other, got {self.bands}")
        per_band = {
            "scale": self.scale,
            "offset": self.offset,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "normalization": self.normalization.lower,
            **({"dark": self.dark} if self.dark else {}),
        }
        for name, numbers in per_band.items():
            if len(numbers) != len(self.bands):
                raise ValueError(f"{name} has {len(numbers)} numbers for {len(self.bands)} bands")
        if self.ignore in self.classes.codes:
            raise ValueError(f"ignore code {self.ignore} is also the code of a class")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Contract):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        """All fields, with a text for NaN, which does not equal itself."""

        def comparable(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(comparable, value))
            return "NaN" if isinstance(value, float) and math.isnan(value) else value

        return tuple(comparable(getattr(self, field.name)) for field in fields(self))

    def __repr__(self) -> str:
        classes = zip(self.classes.codes, self.classes.names, strict=True)
        named = ", ".join(f"{code} {name}" for code, name in classes)
        lines = [f"contract of {len(self.bands)} bands", *self._facts(), f"classes {named}"]
        return "\n".join([*lines, table_text(*self._band_table())])

    def _repr_html_(self) -> str:
        return card_html("contract", f"{len(self.bands)} bands", self.to_html())

    def to_html(self) -> Markup:
        """Make tables of bands and classes, with what all bands have in common above."""
        bands = table_html(*self._band_table())
        return Markup(lines_html(self._facts()) + bands + self.classes.to_html())

    def _facts(self) -> list[str]:
        nodata = "no nodata value" if self.nodata is None else f"nodata {self.nodata:g}"
        where = "any band" if self.nodata_rule == "any" else "all bands"
        rule = self.normalization.kind
        pixels = f"pixels of {self.pixels_text}, normalised by {rule}"
        return [f"{self.dtype}, {nodata} in {where}", pixels]

    @property
    def pixels_text(self) -> str:
        """Size of a pixel on the ground, for messages: of the training scenes from … to …."""
        sizes = self.pixel_range or self.ground_sample_distance
        texts = [f"{sizes[i]:.4g} × {sizes[i + 1]:.4g} m" for i in range(0, len(sizes), 2)]
        return " to ".join(texts)

    def _band_table(self) -> tuple[list[str], list[list[str]]]:
        rule = self.normalization
        columns = self.scale, self.offset, self.minimum, self.maximum, rule.lower, rule.upper
        rows = [
            [band, *(f"{number:.6g}" for number in numbers)]
            for band, *numbers in zip(self.bands, *columns, strict=True)
        ]
        return ["band", "scale", "offset", "minimum", "maximum", "lower", "upper"], rows

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, fit for JSON and for a checkpoint."""
        return {**asdict(self), "classes": self.classes.to_dict()}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Contract:
        """Rebuild a contract from what `to_dict` gave.

        Raises
        ------
        ValueError
            If an entry is missing or has an impossible value.
        """
        tuples = ("bands", "scale", "offset", "ground_sample_distance", "minimum", "maximum")
        try:
            rule = mapping["normalization"]
            return cls(
                **{
                    **mapping,
                    **{name: tuple(mapping[name]) for name in tuples},
                    "dark": tuple(mapping.get("dark", ())),
                    "pixel_range": tuple(mapping.get("pixel_range", ())),
                    "normalization": Normalization(
                        rule["kind"],
                        tuple(rule["lower"]),
                        tuple(rule["upper"]),
                        rule.get("of_stored", False),  # contracts of older versions lack it
                    ),
                    "classes": ClassTable.from_dict(mapping["classes"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a contract: {error}") from error

    def of_scene(
        self, nodata: float | None, scale: Sequence[float], offset: Sequence[float]
    ) -> Contract:
        """Return the same contract for a scene that stores its numbers in another way.

        Parameters
        ----------
        nodata
            The scene's own mark of missing data; the training scenes' if it has none.
        scale, offset
            The scene's own scaling, a band each.
        """
        nodata = self.nodata if nodata is None else float(nodata)
        return replace(self, nodata=nodata, scale=tuple(scale), offset=tuple(offset))


def valid_mask(values: np.ndarray, nodata: float | None, rule: NodataRule = "any") -> np.ndarray:
    """Tell which pixels hold data.

    Parameters
    ----------
    values
        Stored numbers, ``(..., band, y, x)``, of any dtype.
    nodata
        The number that marks missing data; None where only NaN and infinity do.
    rule
        A pixel is missing where ``any`` or where ``all`` of its bands are.

    Returns
    -------
    ndarray of bool, ``(..., y, x)``
        True where the pixel is to be trusted.
    """
    mark: np.generic | None = None
    if nodata is not None and not np.isnan(nodata) and _representable(nodata, values.dtype):
        mark = _as_type(nodata, values.dtype)
    if mark is None and not np.issubdtype(values.dtype, np.floating):
        return np.ones((*values.shape[:-3], *values.shape[-2:]), bool)
    # Band by band: masks of all bands at once would take half as much memory as the bands.
    bands = (_missing(band, mark) for band in np.moveaxis(values, -3, 0))
    combine = np.logical_or if rule == "any" else np.logical_and
    missing = next(bands)
    for other in bands:
        combine(missing, other, out=missing)
    return np.asarray(np.logical_not(missing, out=missing))


def _missing(band: np.ndarray, mark: np.generic | None) -> np.ndarray:
    if not np.issubdtype(band.dtype, np.floating):
        return np.asarray(band == mark)
    broken = ~np.isfinite(band)
    return np.asarray(broken if mark is None else broken | (band == mark))


def _representable(number: float, dtype: np.dtype) -> bool:
    if not np.issubdtype(dtype, np.integer):
        return True
    limits = np.iinfo(dtype)
    return float(number).is_integer() and limits.min <= number <= limits.max


def _as_type(nodata: float, dtype: np.dtype) -> np.generic:
    # -1.797e308, a common mark in float rasters, is minus infinity in float32: missing as well.
    with np.errstate(over="ignore"):
        number: np.generic = dtype.type(nodata)
    return number


def normalize(values: Any, contract: Contract) -> Any:
    """Turn stored numbers into a network's input.

    Parameters
    ----------
    values
        Stored numbers, ``(..., band, y, x)``: a NumPy array, dask array or torch tensor with the
        contract's bands in the contract's order. Where the contract normalises by patch, each
        ``(band, y, x)`` is one patch.
    contract
        Scaling, nodata and normalisation.

    Returns
    -------
    array of float32, same kind and shape
        The normalised values; 0 in every band of a pixel that is missing by the contract's rule,
        and wherever a single value is not finite or nodata.

    Raises
    ------
    ValueError
        If a dask array is to be normalised by patch: its blocks are no patches.

    Examples
    --------
    >>> from seg4eo_xr.testing import plain_contract
    >>> contract = plain_contract(["red"], ClassTable.from_codes([0, 1]), bright=2000.0)
    >>> normalize(np.array([[[0, 500], [1000, 4000]]], np.uint16), contract)
    array([[[0.  , 0.25],
            [0.5 , 1.  ]]], dtype=float32)
    """
    xp = array_api_compat.array_namespace(values)
    # A copy, changed in place from here on: windows are many, and fresh memory is slow.
    result = xp.astype(values, xp.float32, copy=True)
    missing = None
    if contract.nodata is not None and not np.isnan(contract.nodata):
        missing = result == _as_type(contract.nodata, np.dtype(np.float32)).item()
    if xp.isdtype(values.dtype, "real floating"):
        broken = ~xp.isfinite(result)
        missing = broken if missing is None else missing | broken
    if missing is not None and contract.nodata_rule == "any":
        missing = xp.any(missing, axis=-3, keepdims=True)
    if contract.normalization.by_patch:
        result = _by_patch(xp, result, missing, contract.normalization.kind)
    else:
        result = _by_band(xp, result, contract)
    if contract.normalization.clips:
        result = xp.clip(result, 0.0, 1.0)
    return result if missing is None else xp.where(missing, xp.zeros_like(result), result)


def _by_band(xp: Any, numbers: Any, contract: Contract) -> Any:
    """Apply the contract's affine map to each band, in place."""
    where = {} if array_api_compat.is_dask_array(numbers) else {"device": numbers.device}

    def per_band(factors: np.ndarray) -> Any:
        return xp.asarray(factors.astype(np.float32)[:, None, None], **where)

    scale, offset = np.array(contract.scale), np.array(contract.offset)
    if contract.normalization.of_stored:
        scale, offset = np.ones_like(scale), np.zeros_like(offset)
    lower, upper = np.array(contract.normalization.lower), np.array(contract.normalization.upper)
    if contract.normalization.kind == "none":
        lower, upper = np.zeros_like(lower), np.ones_like(upper)
    span = np.where(upper > lower, upper - lower, 1.0)
    numbers *= per_band(scale / span)
    numbers += per_band((offset - lower) / span)
    return numbers


def _by_patch(xp: Any, numbers: Any, missing: Any, kind: NormalizationKind) -> Any:
    """Divide each patch, or each of its bands, by its 99th percentile where that is above 0."""
    if array_api_compat.is_dask_array(numbers):
        raise ValueError(
            f"normalisation {kind!r} takes patches, not a lazy scene; normalise windows "
            "in memory, or let predict() do it"
        )
    together = math.prod(numbers.shape[-3 if kind == "patch_percentile_all_bands" else -2 :])
    parts = xp.reshape(numbers, (-1, together))
    lost = None if missing is None else xp.broadcast_to(missing, numbers.shape)
    lost = None if lost is None else xp.reshape(lost, parts.shape)
    for index in range(parts.shape[0]):
        part = parts[index, :]
        upper = _upper_percentile(xp, part if lost is None else part[~lost[index, :]])
        parts[index, :] = part / upper if upper > 0 else xp.zeros_like(part)
    return xp.reshape(parts, numbers.shape)


def _upper_percentile(xp: Any, numbers: Any) -> float:
    """99th percentile, interpolated linearly; 0 of nothing."""
    count = int(numbers.shape[0])
    if count == 0:
        return 0.0
    ordered = xp.sort(numbers)
    # Python's floats, so that NumPy and torch agree in every bit
    place = 0.99 * (count - 1)
    below, above = float(ordered[int(place)]), float(ordered[min(int(place) + 1, count - 1)])
    return below + (place % 1) * (above - below)
