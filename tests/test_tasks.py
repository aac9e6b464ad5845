"""From training to the vehicle: every task that stands beside detection takes the whole way, tiny, by its commands."""

import json
from pathlib import Path

import pytest

from bevkit.cli.main import main
from bevkit.engine.checkpoint import latest_checkpoint
from tests.conftest import ROOT

SCORES = {"fiptr": {"instances/all/iou", "instances/all/vpq"},
          "sparsebev": {"nuscenes/NDS", "nuscenes/mAP"},
          "videobev_forecast": {"nuscenes/NDS", "forecast/vehicle/minADE", "forecast/pedestrian/EPA"},
          "videobev_map": {"map/IoU/drivable", "map/IoU/vehicle", "map/mIoU"}}


@pytest.mark.parametrize("name", SCORES)
def test_a_task_takes_the_whole_way(name: str, tiny_overrides: list[str], tmp_path: Path):
    config = str(ROOT / "configs" / "tiny" / f"{name}.py")
    data = ["--set", *tiny_overrides, "train_cfg.max_epochs=1", "default_hooks.checkpoint.interval=1"]
    assert main(["train", config, "--work-dir", str(tmp_path / "run"), *data]) == 0
    checkpoint = str(latest_checkpoint(tmp_path / "run"))
    assert main(["test", config, checkpoint, "--work-dir", str(tmp_path / "test"), "--json",
                 str(tmp_path / "scores.json"), *data]) == 0
    assert set(json.loads((tmp_path / "scores.json").read_text())["scores"]) >= SCORES[name]
    assert main(["predict", config, checkpoint, "--count", "2", "--min-score", "0", "--out", str(tmp_path / "seen"),
                 *data]) == 0
    assert len(list((tmp_path / "seen").glob("*/0??.png"))) == 2
    assert main(["export", config, checkpoint, "--clips", "1", "--no-tensorrt", "--out", str(tmp_path / "vehicle"),
                 "--json", str(tmp_path / "export.json"), *data]) == 0
    report = json.loads((tmp_path / "export.json").read_text())
    assert report["passed"] and report["parity"]["vehicle"] > 0 and report["parity"]["vehicle_unequal"] == 0
