from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
import toy_training

from seg4eo_xr.models.checkpoint import load_checkpoint
from seg4eo_xr.training.config import TrainConfig
from seg4eo_xr.training.fit import train
from seg4eo_xr.training.folder import RunFolder

if TYPE_CHECKING:
    from seg4eo_xr.patches.store import PatchStore

OPTIONS = {
    "pretrained": False,
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 2e-2,
    "loss_type": "combo",
    "use_class_weights": True,
    "device": "cpu",
    "freeze_encoder": True,
    "freeze_epochs": 1,
}


@pytest.mark.slow
def test_two_processes_learn_what_one_does(patches: PatchStore, tmp_path: Path) -> None:
    for devices in (1, 2):
        options = json.dumps({**OPTIONS, "devices": devices})
        script = Path(toy_training.__file__)
        command = [
            sys.executable,
            script,
            str(patches.path),
            tmp_path / str(devices),
            options,
            "plain",
        ]
        quiet = {**os.environ, "PYTHONWARNINGS": "ignore::UserWarning"}
        done = subprocess.run(command, capture_output=True, check=False, env=quiet)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stderr == b"" or devices == 2, done.stderr.decode()
    one, two = (RunFolder(tmp_path / str(devices)) for devices in (1, 2))
    first, second = (load_checkpoint(run.final_path).state_dict for run in (one, two))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)
    assert one.log_path.read_text() == two.log_path.read_text()


@pytest.mark.slow
def test_sigterm_ends_all_processes(patches: PatchStore, tmp_path: Path) -> None:
    words = ["train", "--dataset_root", str(patches.path), "--save_dir", str(tmp_path / "run")]
    words += [
        "--no_pretrained",
        "--epochs",
        "1000",
        "--batch_size",
        "8",
        "--device",
        "cpu",
        "--devices",
        "2",
    ]
    command = [sys.executable, toy_training.__file__, "--command", "-1", "SIGTERM", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            while not (tmp_path / "run" / "training_state.ckpt").exists():
                assert process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            told = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == 143, told
    assert "go on with resume=True (--resume)" in told


def test_the_variables_of_a_scheduler_change_nothing(
    patches: PatchStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "4",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    config = TrainConfig(pretrained=False, epochs=1, batch_size=8, device="cpu")
    with toy_training.tiny_network():
        run = train(patches, tmp_path / "run", config, progress=False)
    assert run.final_path.exists()


def test_a_batch_that_cannot_be_shared_out_is_refused(patches: PatchStore, tmp_path: Path) -> None:
    config = TrainConfig(pretrained=False, batch_size=7, devices=2, device="cpu")
    with pytest.raises(ValueError, match=r"batch_size 7 cannot be shared out.*multiple of 2"):
        train(patches, tmp_path, config, progress=False)
