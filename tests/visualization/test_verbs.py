"""`bevkit look` and `bevkit predict`: the right files, sane numbers, also where there is no truth."""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from bevkit.cli import look, predict
from bevkit.structures import BEVClip, BEVGrid, FutureInstances
from bevkit.visualization.bev import BEVCanvas
from bevkit.visualization.cameras import draw_depths


class Clips:
    """Three clips of one scene; the last one's future is unknown."""

    def __init__(self, clip: BEVClip) -> None:
        self.past, self.target_coder, self.version = clip.past, None, "v1.0-mini"
        unknown = replace(clip.frames[-1], boxes=None)
        self.clips = [clip, clip, replace(clip, frames=(*clip.frames[:-1], unknown))]
        self.clips = [replace(one, frames=tuple(
            replace(frame, meta=frame.meta | dict(keyframe=frame.meta["keyframe"] + shift)) for frame in one.frames))
            for shift, one in enumerate(self.clips)]
        self.windows = np.arange(5) + np.arange(3)[:, None]
        self.index = SimpleNamespace(scene_start=np.array([0, 40]), scene_names=["scene-0001"])

    def __getitem__(self, index: int) -> BEVClip:
        return self.clips[index]

    def __len__(self) -> int:
        return len(self.clips)


def test_predict_draws_a_scene(make_clip: Callable[..., BEVClip], grid: BEVGrid, ids: torch.Tensor, tmp_path: Path
                               ) -> None:
    dataset = Clips(make_clip())
    coder = SimpleNamespace(encode=lambda clip: dict(instance=ids))
    model = SimpleNamespace(grid=grid, predict=lambda batch: [FutureInstances(torch.where(ids == 1, 5, ids))])
    (scene, indices), = predict.scenes_of(dataset, True, 10)
    assert (scene, indices) == ("scene-0001", [0, 1, 2])
    figures, rows = predict.draw_scene(scene, dataset, indices, model, coder, tmp_path)
    assert [(row["VPQ"], row["IoU"]) for row in rows] == [(100.0, 100.0), (100.0, 100.0), (None, None)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["001.png", "001_futures.png", "002.png", "003.png",
                                                               "scene.gif"]
    with Image.open(tmp_path / "scene.gif") as animation:
        assert animation.n_frames == 3
    drive, horizon = figures
    assert len(drive.bev_frames) == 3 and len(horizon.bev_frames) == 4
    assert len(predict.cards_of(rows)) == 2 and predict.cards_of(rows[2:]) == []


def test_predict_draws_possible_futures(make_clip: Callable[..., BEVClip], grid: BEVGrid, ids: torch.Tensor,
                                        tmp_path: Path) -> None:
    dataset = Clips(make_clip())
    coder = SimpleNamespace(encode=lambda clip: dict(instance=ids))
    good, bad = FutureInstances(ids), FutureInstances(torch.zeros_like(ids))
    model = SimpleNamespace(grid=grid, predict=lambda batch: [bad],
                            sample_futures=lambda batch, count: [[bad], [good]] * (count // 2))
    figures, rows = predict.draw_scene("scene-0001", dataset, [0, 2], model, coder, tmp_path, samples=4)
    assert [figure.strip is not None for figure in figures] == [False, True, True]
    assert [(row["VPQ"], row["best VPQ of 4"]) for row in rows] == [(0.0, 100.0), (None, None)]
    assert {"001_samples.png", "003_samples.png"} <= {path.name for path in tmp_path.iterdir()}


def test_predict_thins_a_long_scene(make_clip: Callable[..., BEVClip]) -> None:
    dataset = Clips(make_clip())
    assert [indices for _, indices in predict.scenes_of(dataset, False, 2)] == [[0, 2]]


def test_predict_chooses_the_data() -> None:
    cfg = Config(dict(test_dataloader=dict(dataset=dict(dataroot="a", version="v1.0-trainval", split="val"))))
    asked = dict(dataroot=None, version="v1.0-mini", scene=["scene-0103"], cameras=None, whole_scene=True)
    predict.choose_data(cfg, argparse.Namespace(**asked))
    assert dict(cfg.test_dataloader.dataset) == dict(
        dataroot="a", version="v1.0-mini", split=None, scenes=["scene-0103"], at_scene_start="repeat",
        at_scene_end="unknown")


def test_look_draws_what_the_coder_made(make_clip: Callable[..., BEVClip], grid: BEVGrid, ids: torch.Tensor,
                                        tmp_path: Path) -> None:
    before = torch.cat((ids[:1], ids))  # a frame more than the instances, as PowerBEV's targets have
    flow = torch.where(before.unsqueeze(1) == 2, torch.tensor([0.0, -2.0])[:, None, None], 255.0)
    clip = replace(make_clip(), targets=dict(instance=ids, segmentation=(before > 0).long(), flow=flow))
    titles = [title for title, _ in look.target_pictures(clip, BEVCanvas(grid, 120))]
    assert titles == ["instances", "segmentation, share of time", "flow, to the first future"]
    figure = look.draw(clip, grid, "clip 3", tmp_path)
    assert len(figure.camera_frames) == len(figure.bev_frames) == clip.past
    assert (tmp_path / "clip_3.png").is_file()
    summary = look.summarise([look.facts(clip, grid)])
    assert summary["boxes a frame"] == dict(low=2, mean=2, high=2)
    assert summary["time step in seconds"]["mean"] == pytest.approx(0.5)
    assert summary["target: flow length in cells"] == dict(low=2, mean=2, high=2)
    assert summary["box height above ground in metres"]["high"] == pytest.approx(0, abs=1e-9)


def test_look_draws_the_labels_of_a_detector(make_clip: Callable[..., BEVClip], grid: BEVGrid, tmp_path: Path) -> None:
    depth, heat = torch.zeros(2, 6, 9, 16), torch.zeros(10, *grid.shape)
    depth[1, 2, 4, 8], heat[3, 20, 30] = 30.0, 1.0
    plain = make_clip()
    clip = replace(plain, targets=dict(depth=depth, heatmap=heat, foreground=heat[3:4]))
    assert [title for title, _ in look.target_pictures(clip, BEVCanvas(grid, 120))] == ["heat maps, all classes",
                                                                                        "foreground"]
    look.draw(clip, grid, "clip 1", tmp_path)
    look.draw(replace(plain, targets=dict(heatmap=heat, foreground=heat[3:4])), grid, "clip 2", tmp_path)
    with Image.open(tmp_path / "clip_1.png") as with_depth, Image.open(tmp_path / "clip_2.png") as without:
        assert with_depth.size[1] > without.size[1] + 100
    summary = look.summarise([look.facts(clip, grid)])
    assert summary["target: depth in metres"] == dict(low=30, mean=30, high=30)
    assert summary["target: peaks of the heat maps"]["mean"] == 1


def test_depth_patches_lie_where_they_are() -> None:
    depth = torch.zeros(1, 2, 4)
    depth[0, 1, 2] = 5.0
    image, = draw_depths([np.full((20, 40, 3), 100, dtype=np.uint8)], depth)
    rows, columns = np.nonzero((image != 45).any(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 19, 20, 29)


def test_look_without_labels_and_images(make_clip: Callable[..., BEVClip], grid: BEVGrid, tmp_path: Path) -> None:
    clip = make_clip()
    bare = replace(clip, frames=tuple(replace(frame, boxes=None, images=None, rig=None) for frame in clip.frames))
    figure = look.draw(bare, grid, "clip 0", tmp_path)
    assert figure.camera_frames == [] and len(figure.bev_frames) == clip.past
    assert "boxes a frame" not in look.summarise([look.facts(bare, grid)])


def test_look_at_real_frames(nuscenes_real: Path, tmp_path: Path) -> None:
    from bevkit.cli.main import main

    data = "train_dataloader.dataset"
    config = Path(__file__).parents[2] / "configs" / "tiny" / "powerbev.py"
    assert main(["look", str(config), "--count", "1", "--out", str(tmp_path / "look"), "--json",
                 str(tmp_path / "look.json"), "--set", f"{data}.dataroot={nuscenes_real}", f"{data}.version=v1.0-front",
                 f"{data}.split=None", f"{data}.cache_dir={tmp_path}"]) == 0
    numbers = json.loads((tmp_path / "look.json").read_text())["quantities"]
    assert abs(numbers["camera heading in degrees, left +"]["mean"]) < 2  # CAM_FRONT looks ahead
    assert 0.4 <= numbers["time step in seconds"]["low"] <= numbers["time step in seconds"]["high"] <= 0.61
    assert (tmp_path / "look" / "report.html").is_file() and (tmp_path / "look" / "clip_0.png").is_file()
