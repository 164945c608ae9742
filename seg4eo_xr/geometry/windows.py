"""The global grid of windows over a scene, and which chunk owns which window.

A window of side `window` starts at every multiple of `stride = window - overlap`. The last window
of an axis may reach past the scene's edge (the kernel pads by reflection); no window is ever
shifted, so the blending weights follow from the indices alone. A chunk owns the windows that start
in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class WindowAxis:
    """One axis of the global window grid.

    Parameters
    ----------
    size
        Length of the scene along this axis, in pixels, at least 1.
    window
        Side of a window in pixels, at least 1.
    overlap
        Pixels that neighbouring windows share, from 0 to ``window - 1``.

    Examples
    --------
    >>> axis = WindowAxis(size=1000, window=256, overlap=64)
    >>> axis.stride, axis.count, axis.padded_size
    (192, 5, 1024)
    """

    size: int
    window: int
    overlap: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {self.size}")
        if self.window < 1:
            raise ValueError(f"window must be at least 1 pixel, got {self.window}")
        if not 0 <= self.overlap < self.window:
            raise ValueError(
                f"overlap must lie in 0..{self.window - 1} (the window is {self.window} px), "
                f"got {self.overlap}; a quarter of the window is a good start"
            )

    @property
    def stride(self) -> int:
        """Distance between the starts of neighbouring windows, in pixels."""
        return self.window - self.overlap

    @property
    def count(self) -> int:
        """Number of windows that cover the axis."""
        return max(1, ceil((self.size - self.overlap) / self.stride))

    @property
    def padded_size(self) -> int:
        """Length that the windows reach, in pixels: the scene and what lies past its edge."""
        return self.count * self.stride + self.overlap

    def start(self, index: int) -> int:
        """First pixel of window `index`."""
        return index * self.stride

    @property
    def min_windows_per_chunk(self) -> int:
        """Fewest windows a chunk may own where there are several chunks.

        Two, so that padding by reflection at the scene's edge finds its pixels inside the chunk;
        and enough that the overlap of a chunk's last window ends inside the next chunk, so that
        only direct neighbours share pixels.
        """
        return max(2, ceil(self.overlap / self.stride))

    def windows_per_chunk(self, wanted: int) -> tuple[int, ...]:
        """Windows that each chunk owns, `wanted` of them or the fewest that are allowed.

        Returns
        -------
        tuple of int
            One number a chunk; they sum to `count`. The last chunk takes a rest too small to stand
            alone, so it may be the largest.
        """
        wanted = max(wanted, self.min_windows_per_chunk)
        full, rest = divmod(self.count, wanted)
        if full == 0:
            return (self.count,)
        if rest == 0:
            return (wanted,) * full
        if rest >= self.min_windows_per_chunk:
            return (wanted,) * full + (rest,)
        return (wanted,) * (full - 1) + (wanted + rest,)

    def chunk_sizes(self, windows: tuple[int, ...]) -> tuple[int, ...]:
        """Pixels of the scene that belong to each chunk; they sum to `size`."""
        inner = tuple(n * self.stride for n in windows[:-1])
        return (*inner, self.size - sum(inner))


@dataclass(frozen=True)
class WindowSpan:
    """The windows of one axis that one chunk owns.

    Parameters
    ----------
    axis
        The axis of the global grid.
    first
        Index of the chunk's first window.
    count
        How many windows the chunk owns.
    """

    axis: WindowAxis
    first: int
    count: int

    @property
    def start(self) -> int:
        """First pixel of the chunk's first window."""
        return self.axis.start(self.first)

    @property
    def is_first(self) -> bool:
        """Whether no chunk stands before this one."""
        return self.first == 0

    @property
    def is_last(self) -> bool:
        """Whether no chunk stands behind this one."""
        return self.first + self.count == self.axis.count

    @property
    def reach(self) -> int:
        """Pixels from the chunk's start to the end of its last window: chunk and halo, padded."""
        return self.count * self.axis.stride + self.axis.overlap

    @property
    def core(self) -> int:
        """Pixels that belong to the chunk, counted with the padding at the scene's end."""
        return self.reach if self.is_last else self.count * self.axis.stride

    @property
    def valid(self) -> int:
        """Pixels of the scene that belong to the chunk."""
        return min(self.core, self.axis.size - self.start)

    @property
    def interval(self) -> tuple[int, int]:
        """First pixel of the scene that the windows cover, and the one behind the last."""
        return self.start, min(self.start + self.reach, self.axis.size)

    @property
    def shared_before(self) -> int:
        """Leading pixels to which the chunk before adds its share."""
        return 0 if self.is_first else self.axis.overlap

    @property
    def shared_after(self) -> int:
        """Pixels past the chunk's end to which this chunk adds its share."""
        return 0 if self.is_last else self.axis.overlap


def chunk_spans(axis: WindowAxis, windows: tuple[int, ...]) -> tuple[WindowSpan, ...]:
    """Cut an axis into the spans that its chunks own.

    Parameters
    ----------
    axis
        The axis of the global grid.
    windows
        Windows a chunk, as `WindowAxis.windows_per_chunk` gives them.

    Examples
    --------
    >>> axis = WindowAxis(size=1000, window=256, overlap=64)
    >>> [(span.first, span.count) for span in chunk_spans(axis, axis.windows_per_chunk(2))]
    [(0, 2), (2, 3)]
    """
    if sum(windows) != axis.count:
        raise ValueError(f"chunks own {sum(windows)} windows, but the axis has {axis.count}")
    firsts = [sum(windows[:i]) for i in range(len(windows))]
    return tuple(WindowSpan(axis, first, n) for first, n in zip(firsts, windows, strict=True))
