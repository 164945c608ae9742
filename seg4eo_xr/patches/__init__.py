"""Patches: cut from scenes by a dask graph, kept in a Zarr store, streamed to training."""
