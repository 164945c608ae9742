"""The xarray accessor ``.seg4eo``: the public functions as methods of scenes and maps.

Methods only pass their arguments on, so that they do what the function does whose name they bear
and stay lazy where it does. Imports stand inside, so that registering costs nothing.
"""

from seg4eo_xr.accessor.maps import MapAccessor
from seg4eo_xr.accessor.scenes import SceneAccessor

__all__ = ["MapAccessor", "SceneAccessor"]
