from __future__ import annotations

import json
import subprocess
import sys
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
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stderr == b"" or devices == 2, done.stderr.decode()
    one, two = (RunFolder(tmp_path / str(devices)) for devices in (1, 2))
    first, second = (load_checkpoint(run.final_path).state_dict for run in (one, two))
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)
    assert one.log_path.read_text() == two.log_path.read_text()


def test_a_batch_that_cannot_be_shared_out_is_refused(patches: PatchStore, tmp_path: Path) -> None:
    config = TrainConfig(pretrained=False, batch_size=7, devices=2, device="cpu")
    with pytest.raises(ValueError, match=r"batch_size 7 cannot be shared out.*multiple of 2"):
        train(patches, tmp_path, config, progress=False)
