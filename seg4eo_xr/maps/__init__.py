"""Maps: finished predictions as Zarr and cloud-optimised GeoTIFF."""
