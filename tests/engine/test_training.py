"""Training on the small world: it learns, resumes to the same result, and splits over processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bevkit.engine.build import build_runner, evaluate, load_model
from bevkit.engine.checkpoint import latest_checkpoint, read_checkpoint
from bevkit.engine.config import load_config
from tests.conftest import ROOT

CONFIG = str(ROOT / "configs" / "tiny" / "powerbev.py")


def train(work_dir: Path, overrides: list[str], **options) -> dict:
    build_runner(load_config(CONFIG, overrides), work_dir, **options).train()
    return read_checkpoint(latest_checkpoint(work_dir))


class Killed(Exception):
    pass


def kill_after(runner, iterations: int) -> None:
    """Lets the runner break off in the middle of an epoch, as a kill would."""
    run_iter = runner.train_loop.run_iter

    def dying(index, batch):
        if runner.iter == iterations:
            raise Killed
        run_iter(index, batch)

    runner.train_loop.run_iter = dying


@pytest.mark.parametrize("moment", [4, 3])  # in the middle of the second epoch; after the first one's last step
def test_a_killed_run_resumes_to_the_same_weights(tmp_path, tiny_overrides, moment):
    overrides = [*tiny_overrides, "default_hooks.checkpoint.interval=1", "train_cfg.val_interval=9"]
    whole = train(tmp_path / "whole", overrides)
    runner = build_runner(load_config(CONFIG, overrides), tmp_path / "killed")
    kill_after(runner, moment)
    with pytest.raises(Killed):
        runner.train()
    resumed = train(tmp_path / "killed", overrides, resume=True)
    assert resumed["meta"]["iter"] == whole["meta"]["iter"]
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    for key, state in whole["optimizer"]["state"].items():
        assert torch.equal(state["exp_avg"], resumed["optimizer"]["state"][key]["exp_avg"])


def test_checkpoints_hold_the_config_and_no_code(tmp_path, tiny_overrides):
    checkpoint = train(tmp_path, [*tiny_overrides, "train_cfg.max_epochs=1"])  # read with weights_only
    assert "PowerBEVHead" in checkpoint["meta"]["cfg"]
    assert not list(tmp_path.glob(".*")), "a temporary file was left"
    model = load_model(load_config(CONFIG, tiny_overrides), latest_checkpoint(tmp_path))
    assert not model.training


def test_bfloat16_and_ema_train(tmp_path, tiny_overrides):
    overrides = [*tiny_overrides, "train_cfg.max_epochs=1", "custom_hooks=[{'type': 'PlainCheckpointHook'}, "
                 "{'type': 'EMAHook', 'momentum': 0.1}]"]
    checkpoint = train(tmp_path, overrides, amp="bf16")
    assert "ema_state_dict" in checkpoint
    scores = evaluate(load_config(CONFIG, tiny_overrides), latest_checkpoint(tmp_path), tmp_path / "test")
    assert all(value == value for value in scores.values())


def torchrun(*arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone",
               "-m", "bevkit", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize("name, clips", [("powerbev", 6), ("lss_centerpoint", 12)])
def test_two_processes_train_and_score_as_one(tmp_path, tiny_overrides, name, clips):
    config = str(ROOT / "configs" / "tiny" / f"{name}.py")
    torchrun("train", config, "--work-dir", str(tmp_path / "run"), "--set", *tiny_overrides,
             "train_cfg.max_epochs=1", "train_dataloader.batch_size=2", "default_hooks.checkpoint.interval=1")
    path = latest_checkpoint(tmp_path / "run")
    assert read_checkpoint(path)["meta"]["iter"] == clips // 4  # whole batches of 2 in 2 processes
    alone = evaluate(load_config(config, tiny_overrides), path, tmp_path / "alone")
    torchrun("test", config, str(path), "--work-dir", str(tmp_path / "two"), "--json", str(tmp_path / "two.json"),
             "--set", *tiny_overrides)
    assert json.loads((tmp_path / "two.json").read_text())["scores"] == pytest.approx(alone)
