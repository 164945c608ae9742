"""Pure integers and NumPy: windows, blending weights and splits; no files, no dask, no torch."""
