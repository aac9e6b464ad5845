"""The tools that measure: they run, tiny, and what they say holds."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from bevkit.engine.build import load_model, resolve
from bevkit.engine.config import load_config
from bevkit.structures import EgoMotion
from tests.conftest import ROOT


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = load_model(load_config(str(ROOT / "configs" / "tiny" / "lss_centerpoint.py")))
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / "detector.pth")
    return tmp_path / "detector.pth"


def test_ways_begin_as_the_detector(checkpoint: Path):
    trends = tool("temporal_trends")
    cfg = resolve(load_config(str(ROOT / "configs" / "tiny" / "lss_centerpoint.py")))
    single = trends.begin(cfg, trends.WAYS["single"], str(checkpoint)).eval()
    bev = torch.randn(1, 5, *single.map_shape)
    pose = torch.eye(4, dtype=torch.float64).repeat(1, 5, 1, 1)
    with torch.no_grad():
        alone, _ = single.run_maps(bev[:, -1:], EgoMotion.of(pose[:, -1:], fresh=True))
        stacked = trends.begin(cfg, trends.WAYS["parallel_4"], str(checkpoint)).eval()
        found, _ = stacked.run_maps(bev, EgoMotion.of(pose, fresh=True))
        kept = trends.begin(cfg, trends.WAYS["recurrent_4"], str(checkpoint)).eval()
        steady, _ = kept.run_maps(bev[:, -1:].expand_as(bev), EgoMotion.of(pose, fresh=True))  # the mean of equals
    torch.testing.assert_close(found.heatmap, alone.heatmap, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(steady.heatmap, alone.heatmap, rtol=1e-4, atol=1e-5)
    assert sum(value.numel() for value in stacked.parameters()) > sum(value.numel() for value in single.parameters())


def test_trends_are_measured(small_world: Path, checkpoint: Path, tmp_path: Path, monkeypatch):
    trends, names = tool("temporal_trends"), ["missed_with_time", "hop_on", "forecast_parallel_1"]
    monkeypatch.setitem(trends.WAYS, "missed_with_time", trends.recurrent(2, missed=0.3, tested=(0.0, 0.5)))
    monkeypatch.setattr(sys, "argv", [
        "temporal_trends", str(ROOT / "configs" / "tiny" / "lss_centerpoint.py"), str(checkpoint), "--train",
        f"{small_world}:v1.0-mini:1", "--held-out", f"{small_world}:v1.0-mini", "--kept", str(tmp_path / "maps"),
        "--steps", "2", "--batch", "2", "--json", str(tmp_path / "trends.json"), "--only", *names])
    trends.main()
    found = json.loads((tmp_path / "trends.json").read_text())
    assert {"missed_with_time missed 0%", "missed_with_time missed 50%", "hop_on", "forecast_parallel_1"} <= set(found)
    assert {"mAP", "mAVE", "forecast/vehicle/EPA", "steady/vehicle/EPA"} <= set(found["forecast_parallel_1"])


@pytest.mark.parametrize("name", ["videobev", "sparsebev"])
def test_a_scene_is_streamed_in_every_way(name: str, small_world: Path, tmp_path: Path, monkeypatch):
    drill = tool("stream_drill")
    monkeypatch.setattr(sys, "argv", ["stream_drill", str(ROOT / "configs" / "tiny" / f"{name}.py"), "--dataroot",
                                      str(small_world), "--instants", "10", "--json", str(tmp_path / "drill.json")])
    assert drill.main() == 0
    found = json.loads((tmp_path / "drill.json").read_text())
    assert found["keyframes"] > 3 and len(found["memory"]) == 10 and max(found["errors"].values()) < 1e-4


def test_heads_are_compared_behind_one_models_maps(small_world: Path, tmp_path: Path, monkeypatch):
    heads, config = tool("future_heads"), str(ROOT / "configs" / "tiny" / "powerbev.py")
    torch.manual_seed(0)
    torch.save(dict(state_dict=load_model(load_config(config)).state_dict(), meta={}), tmp_path / "lift.pth")
    arguments = [
        "future_heads", config, str(tmp_path / "lift.pth"), "--train", f"{small_world}:v1.0-mini:1", "--held-out",
        f"{small_world}:v1.0-mini", "--kept", str(tmp_path / "maps"), "--out", str(tmp_path / "out"), "--steps", "2",
        "--batch", "2", "--json", str(tmp_path / "heads.json"), "--heads", config]
    monkeypatch.setattr(sys, "argv", arguments)
    heads.main()
    found = json.loads((tmp_path / "heads.json").read_text())["powerbev"]
    assert found["oracle/all/vpq"] == pytest.approx(100.0) and found["parameters"] > 0
    trained = load_model(load_config(config), tmp_path / "out" / "powerbev.pth").state_dict()
    before = torch.load(tmp_path / "lift.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(value, before[name]) == name.startswith(("image_encoder.", "view_transformer."))
               for name, value in trained.items() if name.endswith("conv.weight"))
    monkeypatch.setattr(sys, "argv", [*arguments, "--go-on", str(tmp_path / "out")])
    heads.main()
    later = load_model(load_config(config), tmp_path / "out" / "powerbev.pth").state_dict()
    steps = {name: int(value) for name, value in later.items() if name.startswith("head.") and "num_batches" in name}
    assert steps and set(steps.values()) == {4}
    assert len(list((tmp_path / "maps").glob("*.npy"))) == 2  # of both places, made once


def test_heads_that_cannot_be_compared_are_refused():
    heads, config = tool("future_heads"), load_config(str(ROOT / "configs" / "tiny" / "powerbev.py"))
    other = load_config(str(ROOT / "configs" / "tiny" / "powerbev.py"), ["model.grid.x=(-24.0, 24.0, 1.0)"])
    heads.expect_alike(config, config, "same.py")
    with pytest.raises(ValueError, match=r"model.grid: expected .* in other.py, .*got .*24.0"):
        heads.expect_alike(config, other, "other.py")
