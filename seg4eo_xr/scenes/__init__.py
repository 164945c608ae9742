"""Scenes and labels as xarray objects, their statistics, and the contract a model makes of them."""
