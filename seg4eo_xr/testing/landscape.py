"""A synthetic landscape as Sentinel-2 sees it, computed window by window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from seg4eo_xr.scenes.classes import ClassTable
from seg4eo_xr.testing.noise import fractal_noise, random_bits, uniform, white_noise

SENTINEL2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
IGNORE = 255
_NATIVE_20_METRES = frozenset({"B05", "B06", "B07", "B8A", "B11", "B12"})

_WATER, _FOREST, _GRASSLAND, _CROPLAND, _BARE_SOIL, _BUILT_UP = range(6)
_COVER_TABLE = ClassTable.from_codes(
    range(1, 7),
    ["water", "forest", "grassland", "cropland", "bare soil", "built-up"],
    ["#2166ac", "#1b7837", "#a6d96a", "#f6d55c", "#b2763c", "#c23b3b"],
)
_FOREST_TABLE = ClassTable.from_codes([0, 1], ["other", "forest"], ["#d9d9d9", "#1b7837"])

# Surface reflectance × 10000 of pure surfaces in summer, in the order of SENTINEL2_BANDS.
_SURFACES = {
    "clear water": (430, 380, 230, 190, 150, 140, 120, 110, 70, 50),
    "turbid water": (620, 820, 640, 520, 310, 290, 250, 220, 110, 80),
    "conifers": (190, 310, 210, 450, 1280, 1580, 1650, 1790, 880, 420),
    "broadleaves": (240, 430, 270, 720, 2050, 2600, 2700, 2900, 1450, 680),
    "fresh grass": (420, 780, 620, 1250, 2600, 3050, 3200, 3350, 2250, 1200),
    "dry grass": (580, 900, 940, 1480, 2300, 2600, 2750, 2900, 2650, 1650),
    "green crop": (310, 640, 330, 980, 3500, 4500, 4700, 4850, 1900, 900),
    "ripe crop": (820, 1230, 1560, 2050, 2500, 2850, 3050, 3250, 3500, 2250),
    "moist soil": (640, 830, 1080, 1260, 1380, 1480, 1560, 1680, 2250, 1950),
    "dry soil": (980, 1280, 1680, 1930, 2080, 2200, 2310, 2480, 3300, 2900),
    "asphalt": (980, 1060, 1120, 1180, 1240, 1280, 1310, 1340, 1420, 1330),
    "bright roof": (1900, 2050, 2200, 2300, 2380, 2440, 2520, 2540, 2600, 2450),
    "tiled roof": (820, 1050, 1650, 1850, 2020, 2120, 2200, 2300, 2650, 2350),
    "garden": (420, 680, 540, 1080, 2000, 2300, 2400, 2500, 1750, 950),
}
_SURFACE_INDEX = {name: index for index, name in enumerate(_SURFACES)}
_SPECTRA = np.array(list(_SURFACES.values()), np.float32)
_CLOUD = np.array((6200, 6100, 6000, 6050, 6150, 6200, 6250, 6200, 4300, 3300), np.float32)

_BLUR_SIGMA = 0.7  # pixels; the sensor's point spread mixes neighbours at borders
_HALO = 6  # pixels computed around a block: even, and beyond the reach of blur and gradient


@dataclass(frozen=True)
class World:
    """All that a synthetic scene depends on."""

    shape: tuple[int, int]
    seed: int
    classes: int
    nodata_wedge: bool
    clouds: bool
    noise: float

    @property
    def scale(self) -> float:
        """Size of landscape features: small scenes get small ones, so that all classes occur."""
        return float(np.clip(np.sqrt(self.shape[0] * self.shape[1]) / 800, 0.25, 1.0))

    @property
    def table(self) -> ClassTable:
        """Classes of the labels."""
        return _COVER_TABLE if self.classes == 6 else _FOREST_TABLE


class _Parcels(NamedTuple):
    """Fields as a Voronoi diagram: what every pixel inherits from its parcel."""

    key: np.ndarray
    border: np.ndarray


class _Landscape(NamedTuple):
    cover: np.ndarray
    parcels: _Parcels
    relief: np.ndarray


def scene_block(world: World, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
    """Bands of the window of `rows` and `cols`, ``(10, y, x)`` uint16."""
    # The halo starts at even coordinates, so that 20 m pixels fall alike in every block.
    top, left = rows[0] - rows[0] % 2 - _HALO, cols[0] - cols[0] % 2 - _HALO
    y = np.arange(top, rows[1] + _HALO + rows[1] % 2)
    x = np.arange(left, cols[1] + _HALO + cols[1] % 2)
    inside = (slice(rows[0] - top, rows[1] - top), slice(cols[0] - left, cols[1] - left))
    landscape = _landscape(world, y, x)
    first, second, share, brightness = _surfaces(world, landscape, y, x)
    cloud, shadow = _cloud_cover(world, y, x)
    light = brightness * _illumination(world, landscape.relief, y, x)
    valid = ~_outside_swath(world, y[inside[0]], x[inside[1]])

    bands = np.empty((len(SENTINEL2_BANDS), *valid.shape), np.uint16)
    for index, name in enumerate(SENTINEL2_BANDS):
        spectrum = _SPECTRA[:, index]
        plane = light * (spectrum[first] * (1 - share) + spectrum[second] * share)
        plane = plane * (1 - 0.6 * shadow) * (1 - cloud) + _CLOUD[index] * cloud
        plane = _blurred(plane) + 1e4 * world.noise * white_noise(world.seed, index, y, x)
        if name in _NATIVE_20_METRES:
            plane = _repeated_from_20_metres(plane)
        # 0 marks nodata, so the darkest valid number is 1
        bands[index] = np.where(valid, np.clip(plane[inside], 1, 16000), 0)
    return bands


def label_block(world: World, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
    """Class codes of the window of `rows` and `cols`, ``(y, x)`` uint8."""
    # the river's width needs a gradient, hence a pixel more on each side
    y, x = np.arange(rows[0] - 1, rows[1] + 1), np.arange(cols[0] - 1, cols[1] + 1)
    cover = _landscape(world, y, x).cover
    codes = cover + 1 if world.classes == 6 else cover == _FOREST
    cloud, shadow = _cloud_cover(world, y, x)
    hidden = _outside_swath(world, y, x) | (cloud > 0.25) | (shadow > 0.4)
    return np.where(hidden, IGNORE, codes).astype(np.uint8)[1:-1, 1:-1]


def _landscape(world: World, y: np.ndarray, x: np.ndarray) -> _Landscape:
    scale, seed = world.scale, world.seed
    relief = fractal_noise(seed, 1, y, x, 190 * scale, octaves=4)
    parcels = _parcels(seed, y, x, scale)
    kind = uniform(parcels.key, 1)
    cover = np.select(
        [kind < 0.46, kind < 0.74, kind < 0.92], [_CROPLAND, _GRASSLAND, _BARE_SOIL], _FOREST
    )
    woods = fractal_noise(seed, 2, y, x, 150 * scale, octaves=5, persistence=0.55)
    cover[woods + 0.5 * relief > 0.75] = _FOREST
    cover[_town_density(seed, y, x, scale) > 0] = _BUILT_UP
    river = _river_distance(seed, y, x, scale) < 4.5 * scale**0.5
    cover[river | (relief < -1.1)] = _WATER
    return _Landscape(cover.astype(np.uint8), parcels, relief)


def _river_distance(seed: int, y: np.ndarray, x: np.ndarray, scale: float) -> np.ndarray:
    """Distance in pixels to the nearest river: the zero line of a winding ramp."""
    along = (x[None, :] + 0.35 * y[:, None]) / (700 * scale) + float(
        uniform(random_bits(seed, 4), 0)[0]
    )
    ramp = 4 * np.abs(along % 2 - 1) - 2
    winding = ramp + 0.7 * fractal_noise(seed, 3, y, x, 260 * scale, octaves=4)
    return np.asarray(np.abs(winding) / np.hypot(*np.gradient(winding)))


def _surfaces(
    world: World, landscape: _Landscape, y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two pure surfaces a pixel, the share of the second, and a brightness."""
    seed, cover, parcels = world.seed, landscape.cover, landscape.parcels
    patchy = fractal_noise(seed, 11, y, x, 14, octaves=2)
    fine = fractal_noise(seed, 12, y, x, 2.5, octaves=1)
    broad = fractal_noise(seed, 13, y, x, 90 * world.scale, octaves=3)
    ripe = (uniform(parcels.key, 2) < 0.4).astype(np.float64)
    of_parcel = uniform(parcels.key, 3)

    names = (
        ("clear water", "turbid water", 0.35 + 0.25 * broad, 1 + 0.03 * patchy),
        ("conifers", "broadleaves", 0.5 + 0.6 * broad, 1 + 0.10 * fine + 0.04 * patchy),
        ("fresh grass", "dry grass", of_parcel + 0.12 * patchy, 1 + 0.03 * fine),
        ("green crop", "ripe crop", 0.75 * ripe + 0.25 * of_parcel, 1 + 0.03 * patchy),
        ("moist soil", "dry soil", of_parcel + 0.12 * patchy, 1 + 0.03 * fine),
    )
    shape = cover.shape
    first, second = np.zeros(shape, np.intp), np.zeros(shape, np.intp)
    share, brightness = np.zeros(shape), np.ones(shape)
    for code, (one, other, mixed, bright) in enumerate(names):
        here = cover == code
        first[here], second[here] = _SURFACE_INDEX[one], _SURFACE_INDEX[other]
        share[here], brightness[here] = np.clip(mixed, 0, 1)[here], bright[here]
    field_track = parcels.border & np.isin(cover, (_GRASSLAND, _CROPLAND, _BARE_SOIL))
    second[field_track], share[field_track] = _SURFACE_INDEX["dry soil"], 0.35
    town = cover == _BUILT_UP
    first[town], second[town], share[town] = (part[town] for part in _town_surfaces(seed, y, x))
    return first, second, share.astype(np.float32), brightness.astype(np.float32)


def _town_surfaces(
    seed: int, y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Roofs, streets and gardens: each pair of pixels draws its own mixture."""
    key = random_bits(seed, 20, (y // 2)[:, None], (x // 2)[None, :])
    draw = uniform(key, 1)
    roof = np.select(
        [draw < 0.45, draw < 0.85],
        [_SURFACE_INDEX["tiled roof"], _SURFACE_INDEX["asphalt"]],
        _SURFACE_INDEX["bright roof"],
    )
    green = uniform(key, 2) < 0.35
    other = np.where(green, _SURFACE_INDEX["garden"], _SURFACE_INDEX["asphalt"])
    return roof, other, 0.15 + 0.5 * uniform(key, 3)


def _parcels(seed: int, y: np.ndarray, x: np.ndarray, scale: float) -> _Parcels:
    """Fields: a Voronoi diagram of a jittered, turned grid of oblong cells."""
    angle = float(uniform(random_bits(seed, 30), 0)[0]) * np.pi
    length, breadth = 46 * scale, 26 * scale
    cos, sin = np.cos(angle), np.sin(angle)
    # fields bend a little with the land
    bend_u = 0.12 * fractal_noise(seed, 31, y, x, 60 * scale, octaves=1)
    bend_v = 0.12 * fractal_noise(seed, 32, y, x, 60 * scale, octaves=1)
    u = (y[:, None] * sin + x[None, :] * cos) / length + bend_u
    v = (y[:, None] * cos - x[None, :] * sin) / breadth + bend_v
    near = np.full(u.shape, np.inf)
    second = np.full(u.shape, np.inf)
    key = np.zeros(u.shape, np.uint64)
    cell_u, cell_v = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    for step_u in (-1, 0, 1):
        for step_v in (-1, 0, 1):
            site = random_bits(seed, 33, cell_u + step_u, cell_v + step_v)
            du = (cell_u + step_u + 0.15 + 0.7 * uniform(site, 1) - u) * length
            dv = (cell_v + step_v + 0.15 + 0.7 * uniform(site, 2) - v) * breadth
            distance = np.sqrt(du * du + dv * dv)
            closer = distance < near
            second = np.where(closer, near, np.minimum(second, distance))
            near = np.where(closer, distance, near)
            key = np.where(closer, site, key)
    return _Parcels(key, second - near < 1.2)


def _town_density(seed: int, y: np.ndarray, x: np.ndarray, scale: float) -> np.ndarray:
    """Positive inside towns and villages, whose outlines are ragged."""
    cell = 210 * scale
    row, col = np.floor(y / cell).astype(np.int64), np.floor(x / cell).astype(np.int64)
    density = np.full((y.size, x.size), -np.inf)
    for step_y in (-1, 0, 1):
        for step_x in (-1, 0, 1):
            site = random_bits(seed, 40, (row + step_y)[:, None], (col + step_x)[None, :])
            dy = (row + step_y)[:, None] + 0.2 + 0.6 * uniform(site, 1) - (y / cell)[:, None]
            dx = (col + step_x)[None, :] + 0.2 + 0.6 * uniform(site, 2) - (x / cell)[None, :]
            radius = 0.10 + 0.18 * uniform(site, 3) ** 2
            density = np.maximum(density, 1 - (dy * dy + dx * dx) / (radius * radius))
    ragged = fractal_noise(seed, 41, y, x, 22 * scale, octaves=3)
    return density + 0.45 * ragged


def _cloud_cover(world: World, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Opacity of clouds, and of the shadows that they throw to the north-west."""
    if not world.clouds:
        clear = np.zeros((y.size, x.size), np.float32)
        return clear, clear

    def opacity(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        density = fractal_noise(
            world.seed, 50, rows, cols, 130 * world.scale, octaves=5, persistence=0.5
        )
        return np.clip((density - 1.0) / 0.6, 0, 1).astype(np.float32)

    return opacity(y, x), opacity(y + round(24 * world.scale), x + round(17 * world.scale))


def _illumination(world: World, relief: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    height, width = world.shape
    across = 1 + 0.10 * (x / width - 0.5)[None, :] + 0.05 * (y / height - 0.5)[:, None]
    shade = np.gradient(relief, axis=1) - np.gradient(relief, axis=0)
    light = across * (1 + 1.2 * world.scale * np.clip(shade, -0.1, 0.1))
    return np.asarray(light, np.float32)


def _outside_swath(world: World, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    if not world.nodata_wedge:
        return np.zeros((y.size, x.size), bool)
    height, width = world.shape
    edge = 0.14 * width * (1 - y / (0.75 * height))
    return np.asarray(x[None, :] < edge[:, None])


def _blurred(plane: np.ndarray) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(plane, _BLUR_SIGMA, truncate=4.0, mode="nearest"))


def _repeated_from_20_metres(plane: np.ndarray) -> np.ndarray:
    height, width = plane.shape
    coarse = plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return np.asarray(coarse.repeat(2, axis=0).repeat(2, axis=1))
