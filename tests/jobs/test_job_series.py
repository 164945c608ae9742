"""A time series as jobs: one map a date, each of them that of the date alone."""

from __future__ import annotations

import numpy as np
import pytest
from toy_jobs import OPTIONS, failing_scene, toy_checkpoint, toy_scene

import seg4eo_xr as seg
from seg4eo_xr.jobs import order

pytestmark = [
    pytest.mark.filterwarnings("ignore::seg4eo_xr.ContractWarning"),
    pytest.mark.usefixtures("tiny_networks"),
]
DATES = ("2021-06-03", "2021-06-13")


@pytest.fixture(scope="module")
def scenes():
    return [toy_scene(seed=seed) for seed in (1, 2)]


def run(scenes, output, dates=DATES, **options):
    return seg.predict_series(
        dict(zip(dates, scenes, strict=True)),
        toy_checkpoint(),
        output,
        progress=False,
        **OPTIONS,
        **options,
    )


def test_each_date_is_mapped_as_if_it_were_alone(scenes, tmp_path):
    jobs = run(scenes, tmp_path / "map.zarr")
    assert tuple(jobs) == DATES
    for date, scene in zip(DATES, scenes, strict=True):
        alone = seg.predict(scene, toy_checkpoint(), overlap=8).compute()
        found = jobs[date].open()
        for name in alone:
            np.testing.assert_array_equal(found[name], alone[name])
    assert {entry.name for entry in tmp_path.iterdir()} == {f"map_{date}.zarr" for date in DATES}


def test_a_series_takes_what_is_new_alone(scenes, tmp_path, monkeypatch):
    run(scenes[:1], tmp_path / "map.tif", DATES[:1])
    with pytest.raises(FileExistsError, match=r"map_2021-06-03\.tif"):
        run(scenes, tmp_path / "map.tif")
    made, run_tiles = [], order.run_tiles

    def noted(*arguments, **named):
        made.append(arguments[1])
        return run_tiles(*arguments, **named)

    monkeypatch.setattr("seg4eo_xr.jobs.order.run_tiles", noted)
    jobs = run(scenes, tmp_path / "map.tif", resume=True)
    assert len(made) == 1
    assert [file.name for file in jobs[DATES[1]].files] == [
        "map_2021-06-13.tif",
        "map_2021-06-13_confidence.tif",
    ]


def test_a_date_that_fails_leaves_the_others(scenes, tmp_path):
    with pytest.raises(seg.JobFailedError, match="1 of 2 dates failed") as caught:
        run([failing_scene(OSError("unreadable")), scenes[1]], tmp_path / "map.zarr", retries=0)
    assert "2021-06-03: 1 of 4 tiles failed" in str(caught.value)
    assert "3 of 4 tiles are finished and kept" in str(caught.value)
    assert list(caught.value.failures) == ["2021-06-03"]
    assert (tmp_path / "map_2021-06-13.zarr").exists()
    assert not (tmp_path / "map_2021-06-03.zarr").exists()


def test_times_of_a_day_make_names_without_colons(scenes, tmp_path):
    times = ("2021-06-03T10:20:30", "2021-06-03T10:20:45")
    jobs = run(scenes, tmp_path / "map.zarr", times)
    assert [job.path.name for job in jobs.values()] == [
        "map_2021-06-03T102030.zarr",
        "map_2021-06-03T102045.zarr",
    ]


def test_a_cube_gives_the_same_maps(scenes, tmp_path):
    cube = seg.open_cube(scenes, DATES)
    jobs = seg.predict_series(cube, toy_checkpoint(), tmp_path / "map.zarr", **OPTIONS)
    found = [job.open()["classes"] for job in jobs.values()]
    expected = seg.predict(cube, toy_checkpoint(), overlap=8)["classes"].compute()
    np.testing.assert_array_equal(np.stack(found), expected)


def test_a_single_job_refuses_a_series(scenes, tmp_path):
    with pytest.raises(ValueError, match="scenes_of"):
        seg.predict_to_zarr(seg.open_cube(scenes, DATES), toy_checkpoint(), tmp_path / "map.zarr")
    assert list(tmp_path.iterdir()) == []


def test_all_dates_are_looked_at_before_the_first_is_mapped(scenes, tmp_path):
    short = scenes[1].isel(band=slice(2))
    with pytest.raises(ValueError, match="B04"):
        run([scenes[0], short], tmp_path / "map.zarr")
    assert not list(tmp_path.iterdir())
