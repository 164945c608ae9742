"""The options of an extraction, for the Python API and the command line alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from seg4eo_xr.options import OptionSet, require_choice
from seg4eo_xr.patches.assembly import Interpolation
from seg4eo_xr.patches.grids import Edges
from seg4eo_xr.scenes.contract import NodataRule, NormalizationKind

Sampling = Literal["grid", "random", "balanced"]


@dataclass(frozen=True)
class ExtractOptions(OptionSet):
    """How patches are cut and stored."""

    patch_size: int = 224
    """Side of a patch, in pixels."""
    stride: int | None = None
    """Pixels between the starts of neighbouring patches of a regular grid; else patch_size."""
    edges: Edges = "pad"
    """Patches that reach past the scene's right or lower edge: pad them with nodata and ignored
    labels, shift them inside, where they overlap their neighbours, or drop them."""
    interpolation: Interpolation = "nearest"
    """How grid cells of another size become patches; labels always take the nearest pixel."""
    normalization: NormalizationKind = "percentile"
    """How a model trained on this store normalises its input."""
    sampling: Sampling = "grid"
    """Without polygons: a regular grid, windows at random, or as many around each class."""
    samples: int | None = None
    """Number of windows of a scene that sampling at random or by class draws."""
    sampling_seed: int = 42
    """Seed of the draws at random or by class."""
    min_valid_fraction: float = 0.0
    """Least share of a patch's pixels that have data; patches below it are not used."""
    min_labelled_fraction: float = 0.0
    """Least share of pixels with data and a label; patches below, or without any, are not used."""
    nodata_rule: NodataRule = "any"
    """A pixel is missing where any, or where all, of its bands are."""
    shard_size: int | None = None
    """Patches a shard file, a power of two; by default as many as make 64 to 128 MB."""
    overwrite: bool = False
    """Replace a patch store that exists already."""
    append: bool = False
    """Add to a patch store that exists already."""

    def __post_init__(self) -> None:
        if self.patch_size < 1:
            raise ValueError(f"patch_size must be at least 1 pixel, got {self.patch_size}")
        for name in ("min_valid_fraction", "min_labelled_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        size = self.shard_size
        if size is not None and (size < 1 or size & (size - 1)):
            raise ValueError(f"shard_size must be a power of two, got {size}")
        if self.overwrite and self.append:
            raise ValueError("overwrite and append exclude each other; choose one")
        if self.sampling != "grid" and (self.samples is None or self.samples < 1):
            raise ValueError(
                f"sampling {self.sampling!r} needs samples, the number of windows of a scene; got "
                f"{self.samples}"
            )
        if self.sampling == "grid" and self.samples is not None:
            raise ValueError("samples goes with sampling 'random' or 'balanced'")
        require_choice("sampling", self.sampling, get_args(Sampling))
        require_choice("edges", self.edges, get_args(Edges))
        require_choice("interpolation", self.interpolation, get_args(Interpolation))
        require_choice("normalization", self.normalization, get_args(NormalizationKind))
        require_choice("nodata_rule", self.nodata_rule, get_args(NodataRule))
