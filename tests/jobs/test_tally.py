"""Laws of what a job says it has done: the bar moves within a tile and ends at the last window."""

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_jobs import make_files, run_job

from seg4eo_xr.cli.voices import voices
from seg4eo_xr.geometry.tiles import tile_grid
from seg4eo_xr.geometry.windows import WindowAxis
from seg4eo_xr.jobs.markers import TileRecord
from seg4eo_xr.jobs.tally import Tally
from seg4eo_xr.maps.statistics import MapStatistics
from seg4eo_xr.scenes.classes import ClassTable

GRID = tile_grid(
    WindowAxis(size=500, window=64, overlap=16),
    WindowAxis(size=300, window=64, overlap=16),
    tile_size=192,
    windows_per_chunk=2,
)
NOTHING = MapStatistics(ClassTable.from_codes([1]), (0,), (0,), 0)
RECORD = TileRecord("", 0, NOTHING.to_dict())


@given(st.data())
def test_a_bar_never_shows_more_than_there_is_and_ends_at_all(data):
    tiles = list(GRID)
    parts = [tile for tile in tiles for _ in range(3)]  # of halves: one of them is tried again
    events = data.draw(
        st.permutations([(tile, False) for tile in parts] + [(t, True) for t in tiles])
    )
    with Tally(GRID, "testing", progress=True) as tally:
        for tile, ended in events:
            if ended:
                before = tally.bar.n
                tally.add(tile, RECORD)
                assert tally.bar.n >= before
            else:
                tally.add_pixels(tile, GRID.pixels(tile) // 2)
            assert 0 <= tally.bar.n <= GRID.total_windows
        assert tally.bar.n == GRID.total_windows
        assert tally.done == len(GRID)


def test_tiles_that_are_kept_are_no_work(caplog):
    first, *others = GRID
    with (
        caplog.at_level(logging.INFO, "seg4eo_xr"),
        Tally(GRID, "testing", progress=True) as tally,
    ):
        for tile in others:
            tally.add(tile, replace(RECORD, kept=True))
        assert tally.bar.n == tally.bar.initial == GRID.total_windows - GRID.windows(first)
        assert caplog.messages[-1].endswith(f"{len(others)} of them kept, 0 windows/s")
        tally.add(first, RECORD)
    assert tally.bar.n == GRID.total_windows
    assert (tally.done, tally.kept) == (len(GRID), len(others))


@pytest.mark.parametrize("progress", [False, True])
def test_a_terminal_shows_a_bar_or_lines(progress, capsys):
    with voices(quiet=False, verbose=False), Tally(GRID, "testing", progress=progress) as tally:
        for tile in GRID:
            tally.add(tile, RECORD)
    assert ("tiles done" in capsys.readouterr().err) != progress


@pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning")
@pytest.mark.usefixtures("tiny_networks")
@pytest.mark.parametrize("workers", [None, 1])
def test_a_single_tile_is_heard_of_while_it_is_made(workers, tmp_path, monkeypatch):
    told, ended, add = [], [], Tally.add

    def add_tile(tally, tile, record):
        ended.append(len(told))
        add(tally, tile, record)

    monkeypatch.setattr(Tally, "add_pixels", lambda tally, tile, pixels: told.append(pixels))
    monkeypatch.setattr(Tally, "add", add_tile)
    folder = make_files(tmp_path)
    result = run_job(folder, tmp_path / "map.zarr", tile_size=8192, workers=workers, progress=True)
    assert result.tiles == 1
    assert len(told) > 1
    assert ended[0] > 0
    assert sum(told) <= 230 * 170
