"""Pictures of scenes, labels, maps and patches."""

from __future__ import annotations

from seg4eo_xr.plotting.overlays import plot_comparison, plot_overlay
from seg4eo_xr.plotting.previews import preview
from seg4eo_xr.plotting.rasters import plot_confidence, plot_labels, plot_map, plot_scene
from seg4eo_xr.plotting.samples import plot_samples
from seg4eo_xr.plotting.webmaps import explore

__all__ = [
    "explore",
    "plot_comparison",
    "plot_confidence",
    "plot_labels",
    "plot_map",
    "plot_overlay",
    "plot_samples",
    "plot_scene",
    "preview",
]
