"""The layers of a map, made from blended probabilities in fixed point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from seg4eo_xr.geometry.blending import FIXED_POINT
from seg4eo_xr.pages import empty_pages

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from seg4eo_xr.scenes.classes import ClassTable

LayerName = Literal[
    "classes",
    "confidence",
    "probabilities",
    "entropy",
    "margin",
    "disagreement",
    "view_disagreement",
]
ProbabilityType = Literal["float32", "float16", "uint8"]

MEASURES: tuple[LayerName, ...] = ("disagreement", "view_disagreement")
"""Layers that do not follow from blended probabilities, and are summed as channels of their own."""

BYTE_STEPS = 254
"""Steps of a probability that is stored in a byte, where 255 stands for missing."""

_MEANINGS = {
    "classes": "class",
    "confidence": "probability of the class given",
    "probabilities": "probability of each class",
    "entropy": "entropy of the probabilities, from 0 (one class is certain) to 1 (all are alike)",
    "margin": "probability of the class given less that of the next",
    "disagreement": "variance of the probabilities over the windows that overlap, all classes",
    "view_disagreement": "variance of the probabilities over the views of a window, all classes",
}


@dataclass(frozen=True)
class MapEncoding:
    """How blended probabilities become the numbers of a map.

    Parameters
    ----------
    codes
        Class codes in the order of the network's outputs.
    threshold
        Probability from which a binary network's pixel belongs to the second class; None where the
        network has one output a class.
    nodata
        Code of missing pixels in the class layer; the other layers hold NaN there.
    layers
        Which layers to make.
    probability_dtype
        How the layer of probabilities is stored; uint8 in steps of 1/254.
    """

    codes: tuple[int, ...]
    threshold: float | None
    nodata: int
    layers: tuple[LayerName, ...]
    probability_dtype: ProbabilityType = "float32"

    def __post_init__(self) -> None:
        map_format(self.codes, self.nodata)
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold}")

    @property
    def channels(self) -> int:
        """Outputs of the network: one a class, or a single one where there is a threshold."""
        return len(self.codes) if self.threshold is None else 1

    @property
    def measures(self) -> tuple[LayerName, ...]:
        """Layers of `MEASURES` that are to be made, in their order."""
        return tuple(layer for layer in MEASURES if layer in self.layers)

    @property
    def summed(self) -> int:
        """Channels that are blended: the network's outputs and the measures."""
        return self.channels + len(self.measures)

    def dtype(self, layer: LayerName) -> np.dtype[Any]:
        """Dtype of a layer."""
        if layer == "classes":
            return map_format(self.codes, self.nodata)[0]
        return np.dtype(self.probability_dtype if layer == "probabilities" else np.float32)

    def missing(self, layer: LayerName) -> float:
        """Number of missing pixels in a layer: `nodata`, 255 of probabilities in bytes, or NaN."""
        if layer == "classes":
            return self.nodata
        return np.nan if self.dtype(layer).kind == "f" else 255

    def attrs(self, layer: LayerName, classes: ClassTable) -> dict[str, Any]:
        """Attributes of a layer by the CF conventions."""
        attrs: dict[str, Any] = {"long_name": _MEANINGS[layer]}
        stored_as_integers = self.dtype(layer).kind != "f"
        if stored_as_integers:
            attrs["_FillValue"] = self.missing(layer)
        if layer == "classes":
            return attrs | classes.to_attrs()
        return (
            attrs
            | {"units": "1"}
            | ({"scale_factor": 1 / BYTE_STEPS} if stored_as_integers else {})
        )

    def empty(self, height: int, width: int) -> dict[LayerName, np.ndarray]:
        """Uninitialised layers of that size."""
        shapes = {"probabilities": (len(self.codes), height, width)}
        return {
            layer: empty_pages(shapes.get(layer, (height, width)), self.dtype(layer))
            for layer in self.layers
        }

    def finalise(self, sums: torch.Tensor) -> dict[LayerName, np.ndarray]:
        """Turn finished sums into layers, before missing pixels are marked.

        Parameters
        ----------
        sums
            Blended probabilities and measures × `FIXED_POINT`, int32, ``(summed, y, x)``.

        Returns
        -------
        dict
            Layer name to array, ``(y, x)`` or, for probabilities, ``(class, y, x)``.
        """
        import torch

        from seg4eo_xr.inference import agreement, certainty

        measured = dict(zip(self.measures, sums[self.channels :], strict=True))
        sums = sums[: self.channels]
        if self.threshold is None:
            best, index = certainty.leading_class(sums)
        else:
            second = sums[0] >= round(self.threshold * FIXED_POINT)
            index = second.to(torch.int64)
            best = torch.where(second, sums[0], FIXED_POINT - sums[0])
            sums = torch.stack([FIXED_POINT - sums[0], sums[0]])
        result: dict[LayerName, np.ndarray] = {}
        for layer in self.layers:
            if layer == "classes":
                # torch has no indexing of 16-bit codes, and indices cross from a device as bytes
                codes = np.array(self.codes, self.dtype("classes"))
                result[layer] = codes[index.to(torch.uint8).cpu().numpy()]
            elif layer == "confidence":
                result[layer] = _shares(best).cpu().numpy()
            elif layer == "entropy":
                result[layer] = _shares(certainty.entropy(sums)).cpu().numpy()
            elif layer == "margin":
                result[layer] = _shares(certainty.margin(sums)).cpu().numpy()
            elif layer == "disagreement":
                spread = agreement.variance(measured[layer], sums)
                result[layer] = _shares(spread).cpu().numpy()
            elif layer == "view_disagreement":
                result[layer] = _shares(measured[layer]).cpu().numpy()
            else:
                result[layer] = self._stored(_shares(sums)).cpu().numpy()
        return result

    def _stored(self, shares: torch.Tensor) -> torch.Tensor:
        import torch

        if self.probability_dtype == "uint8":
            return (shares * BYTE_STEPS).round_().to(torch.uint8)
        return shares.half() if self.probability_dtype == "float16" else shares

    def mark_missing(self, layers: dict[LayerName, np.ndarray], valid: np.ndarray) -> None:
        """Write nodata where `valid`, ``(y, x)`` bool, is False; in place."""
        if valid.all():
            return
        for layer, values in layers.items():
            values[..., ~valid] = self.missing(layer)


_FORMATS = ((np.uint8, 255), (np.uint16, 65535), (np.int16, -32768))


def map_format(codes: Sequence[int], nodata: int | None = None) -> tuple[np.dtype[Any], int]:
    """Choose the dtype of a map's class layer, and its nodata code.

    Parameters
    ----------
    codes
        Codes of the classes.
    nodata
        Code of missing pixels, if it is settled.

    Returns
    -------
    dtype, int
        The first that holds the codes and one more: uint8 with nodata 255; uint16 with 65535, for
        which a GeoTIFF still has colours; int16 with -32768, for negative codes.

    Raises
    ------
    ValueError
        If `nodata` is a class or not of 16 bits.

    Examples
    --------
    >>> map_format([10, 95]), map_format([111, 523]), map_format([-1, 1])
    ((dtype('uint8'), 255), (dtype('uint16'), 65535), (dtype('int16'), -32768))
    >>> map_format([0, 1], nodata=-1)
    (dtype('int16'), -1)
    """
    if nodata in codes:
        raise ValueError(
            f"output_nodata {nodata} is the code of a class; the classes are {tuple(codes)}"
        )
    for dtype, usual in _FORMATS:
        missing = usual if nodata is None else nodata
        limits = np.iinfo(dtype)
        inside = all(limits.min <= code <= limits.max for code in (*codes, missing))
        if inside and missing not in codes:
            return np.dtype(dtype), missing
    raise ValueError(
        f"no type of 16 bits holds the classes {tuple(codes)} and the nodata code "
        f"{'-32768' if nodata is None else nodata}; set another output_nodata"
    )


def _shares(sums: torch.Tensor) -> torch.Tensor:
    # Rounding of many windows' shares can add up to a few units above one.
    return sums.clamp(0, FIXED_POINT).float() / FIXED_POINT
