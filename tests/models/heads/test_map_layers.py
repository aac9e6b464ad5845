"""Map layers: they are where the devkit says, come back from their coding, are learned, scored and drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bevkit.datasets import NuScenesClips
from bevkit.geometry import rigid
from bevkit.metrics import MapMetric
from bevkit.models.coders import MapCoder
from bevkit.models.coders.map_layers import RasterMap
from bevkit.registry import MODELS
from bevkit.structures import BEVClip, BEVGrid
from bevkit.visualization.bev import BEVCanvas
from bevkit.visualization.map_layers import draw_map_layers

GRID = BEVGrid(x=(-30.0, 30.0, 0.5), y=(-20.0, 20.0, 0.5))


@pytest.fixture(scope="module")
def clips(small_world: Path) -> NuScenesClips:
    return NuScenesClips(small_world, "v1.0-mini", with_images=False, raster_maps=True)


def test_the_drivable_area_is_the_devkits(clips, small_world: Path):
    from nuscenes.utils.map_mask import MapMask

    shares = []
    for index in (0, len(clips) - 1):
        clip = clips[index]
        drivable, _ = MapCoder(GRID).encode(clip)["maps"]
        mask = MapMask(clip.present.meta["raster_map"], resolution=0.1)
        row, column = (axis.flatten() for axis in np.mgrid[:80, :120])
        places = torch.from_numpy(np.stack((column * 0.5 - 29.75, row * 0.5 - 19.75, 0 * row), axis=1))
        there = rigid.transform(clip.present.global_from_ego, places).numpy()
        theirs = mask.is_on_mask(there[:, 0], there[:, 1]).reshape(80, 120)
        # The devkit rounds to the next pixel, half of one (5 cm) farther: only borders may differ.
        assert (drivable.numpy() != theirs).mean() < 0.02
        shares.append(drivable.mean().item())
        assert drivable[40, 60] == 1  # the ego drives where one may
    assert all(0.05 < share < 0.99 for share in shares)


def test_a_raster_map_is_read_bit_by_bit(tmp_path: Path):
    import cv2

    pixels = np.random.default_rng(0).random((13, 21)) < 0.4
    cv2.imwrite(str(tmp_path / "map.png"), pixels.astype(np.uint8) * 255)
    raster = RasterMap(str(tmp_path / "map.png"))
    row, column = (axis.flatten() for axis in np.mgrid[-2:15, -2:23])
    places = np.stack((0.1 * column + 0.05, 0.1 * (13 - row) - 0.05), axis=1)
    wanted = np.pad(pixels, 2).flatten()
    assert (raster.at(places) == wanted).all()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"broken\.png"):
        RasterMap(str(tmp_path / "broken.png"))


def batched(clip: BEVClip, coder: MapCoder) -> dict[str, torch.Tensor]:
    return {name: value[None] for name, value in coder.encode(clip).items()}


def test_truth_comes_back_and_scores_a_hundred(clips):
    coder, metric = MapCoder(GRID), MapMetric()
    for index in range(3):
        targets = batched(clips[index], coder)
        found, = coder.decode(coder.flawless(targets))
        metric.add(found, targets["maps"][0])
    assert metric.compute_metrics(metric.results) == {"IoU/drivable": 100, "IoU/vehicle": 100, "mIoU": 100}
    metric.results.clear()
    nothing = replace(found, inside=torch.zeros_like(found.inside))
    nothing.inside[0, :40] = True  # half of the cells
    metric.add(nothing, targets["maps"][0])
    drivable = targets["maps"][0, 0] > 0
    assert metric.compute_metrics(metric.results)["IoU/drivable"] == pytest.approx(
        100 * float(drivable[:40].sum() / (drivable[40:].sum() + drivable[:40].numel())))


def test_the_head_learns(clips):
    torch.manual_seed(0)
    head = MODELS.build(dict(type="MapHead", grid=GRID, in_channels=4, hidden=8, coder=dict(type="MapCoder")))
    targets = batched(clips[0], head.coder)
    bev = torch.cat((targets["maps"], torch.randn(1, 2, *GRID.shape)), dim=1)
    optimiser = torch.optim.Adam(head.parameters(), 2e-2)
    for _ in range(60):
        losses = head.loss(head(bev), targets)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
    assert set(losses) == {"loss_drivable", "loss_vehicle"}
    metric = MapMetric()
    metric.add(head.eval().predict(head(bev))[0], targets["maps"][0])
    assert metric.compute_metrics(metric.results)["mIoU"] > 90


def test_layers_are_drawn(clips):
    clip, coder = clips[0], MapCoder(GRID)
    found, = coder.decode(coder.flawless(batched(clip, coder)))
    pictures = draw_map_layers(clip, found.inside, None, coder.layers, BEVCanvas(GRID, 200))
    assert pictures.camera is None and (pictures.prediction != pictures.truth).any()
    pictures = draw_map_layers(clip, found.inside, found.inside, coder.layers, BEVCanvas(GRID, 200))
    assert (pictures.prediction == pictures.truth).all()


def test_what_is_missing_is_named(clips, small_world: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="raster_maps=True"):
        MapCoder(GRID).encode(NuScenesClips(small_world, "v1.0-mini", with_images=False)[0])
    with pytest.raises(ValueError, match="lanes"):
        MapCoder(GRID, layers=("lanes",))
    (tmp_path / "v1.0-mini").symlink_to(small_world / "v1.0-mini")
    with pytest.raises(FileNotFoundError, match="raster maps of v1.0-mini are missing"):
        NuScenesClips(tmp_path, "v1.0-mini", with_images=False, raster_maps=True, cache_dir=tmp_path)
