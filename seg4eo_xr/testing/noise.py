"""Random numbers as pure functions of seed and position, white and smooth."""

from __future__ import annotations

import numpy as np

from seg4eo_xr.geometry.hashing import mixed

_GOLDEN = 0x9E3779B97F4A7C15


def random_bits(seed: int, stream: int, *coordinates: np.ndarray) -> np.ndarray:
    """Mix integers into 64 random bits a position (splitmix64's finaliser)."""
    start = (seed * 0xA0761D6478BD642F + stream * 0xD1B54A32D192ED03) % 2**64
    state = mixed(np.array([start], np.uint64))
    for coordinate in coordinates or (np.zeros(1, np.int64),):
        number = np.asarray(coordinate, np.int64).view(np.uint64)
        state = mixed(state + number * np.uint64(_GOLDEN))
    return state


def uniform(key: np.ndarray, draw: int) -> np.ndarray:
    """The key's `draw`-th number in 0..1."""
    step = np.uint64(draw * _GOLDEN % 2**64)
    return np.asarray((mixed(key + step) >> np.uint64(11)) * 2.0**-53)


def white_noise(seed: int, band: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Nearly normal numbers of unit variance: the sum of four uniform ones."""
    bits = random_bits(seed, 60 + band, y[:, None], x[None, :])
    total = np.zeros(bits.shape, np.float32)
    for shift in (0, 16, 32, 48):
        total += ((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float32)
    return np.asarray((total / 65536 - 2) * np.float32(np.sqrt(3)))


def fractal_noise(
    seed: int,
    stream: int,
    y: np.ndarray,
    x: np.ndarray,
    spacing: float,
    *,
    octaves: int,
    persistence: float = 0.5,
) -> np.ndarray:
    """Smooth noise of about unit variance; each octave halves spacing and amplitude."""
    total = np.zeros((y.size, x.size))
    for octave in range(octaves):
        layer = _smooth_noise(seed, 100 * stream + octave, y, x, spacing / 2**octave)
        total += persistence**octave * layer
    power = sum(persistence ** (2 * octave) for octave in range(octaves))
    return np.asarray(total / np.sqrt(power))


def _smooth_noise(
    seed: int, stream: int, y: np.ndarray, x: np.ndarray, spacing: float
) -> np.ndarray:
    """Uniform numbers on a lattice, interpolated by cubic B-splines."""
    first_row, row_weights = _spline_weights(y / spacing)
    first_col, col_weights = _spline_weights(x / spacing)
    rows = np.arange(first_row.min(), first_row.max() + 4)
    cols = np.arange(first_col.min(), first_col.max() + 4)
    lattice = uniform(random_bits(seed, stream, rows[:, None], cols[None, :]), 0) - 0.5
    along_y = sum(
        row_weights[tap][:, None] * lattice[first_row - rows[0] + tap] for tap in range(4)
    )
    along_yx = sum(
        col_weights[tap][None, :] * along_y[:, first_col - cols[0] + tap] for tap in range(4)
    )
    return np.asarray(along_yx) * 7.2  # the spline damps a uniform number's variance to 1 / 7.2²


def _spline_weights(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First of the four lattice nodes around each position, and the nodes' weights."""
    cell = np.floor(position)
    t = position - cell
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    )
    return cell.astype(np.int64) - 1, weights / 6
