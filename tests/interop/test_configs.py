"""The configs of docs/mmdet3d.md run as they stand there: mmdet3d around bevkit, and bevkit around mmdet."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner

from bevkit.engine.build import build_model, build_runner
from bevkit.engine.config import load_config
from bevkit.structures import CameraRig
from tests.interop.infos import write_infos
from tests.laws.space import random_rig

bridge = pytest.importorskip("bevkit.interop.mmdet3d", reason="mmdet3d is not installed (make test-mmdet3d)")

ROOT = Path(__file__).resolve().parents[2]
THEIRS, OURS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "mmdet3d.md").read_text(), flags=re.M | re.S)
DEPTHS = dict(depth=(1.0, 60.0, 6.0), image_size=(96, 160))
VIEWS = {
    "LiftSplat": dict(channels=8, depth_net=dict(type="CameraAwareDepthNet", mid_channels=8), **DEPTHS),
    "MatrixVT": dict(channels=8, hidden=8, **DEPTHS),
    "BEVFormer": dict(cameras=3, layers=1, levels=1, heads=4, ffn_channels=16),
    "ForwardBackward": dict(channels=8, heads=4, depth_net=dict(type="CameraAwareDepthNet", mid_channels=8), **DEPTHS),
}


@pytest.fixture(autouse=True)
def no_default_scope():
    """A runner leaves its scope behind, and other tests of this process have their own."""
    before = DefaultScope.get_current_instance()
    yield
    init_default_scope(before.scope_name if before is not None else "bevkit")


@pytest.fixture()
def theirs(small_world: Path, tmp_path: Path) -> Config:
    """mmdet3d's config on the small world: three steps of training, a validation, no files left behind."""
    (tmp_path / "config.py").write_text(THEIRS)
    cfg = Config.fromfile(str(tmp_path / "config.py"), lazy_import=False)
    for split in ("train", "val"):
        write_infos(tmp_path / f"nuscenes_infos_{split}.pkl", small_world, f"mini_{split}")
        dataset = cfg[f"{split}_dataloader"].dataset
        dataset.update(data_root=str(small_world), ann_file=str(tmp_path / f"nuscenes_infos_{split}.pkl"))
        dataset.metainfo.version = "v1.0-mini"
    cfg.train_dataloader.dataset.indices = 6
    cfg.val_evaluator.update(data_root=str(small_world), ann_file=str(tmp_path / "nuscenes_infos_val.pkl"))
    cfg.default_hooks = dict(checkpoint=None, logger=dict(type="LoggerHook", interval=1))
    cfg.work_dir, cfg.log_level = str(tmp_path / "work"), "WARNING"
    return cfg


def test_mmdet3d_trains_and_scores_with_a_bevkit_view_transformer(theirs):
    runner = Runner.from_cfg(theirs)
    before = {name: value.detach().clone() for name, value in runner.model.named_parameters()}
    runner.train()
    moved = {name.split(".")[0] for name, value in runner.model.named_parameters() if not value.equal(before[name])}
    assert moved == {"img_backbone", "img_neck", "view", "bev_backbone", "bev_neck", "bbox_head"}
    losses = runner.message_hub.get_scalar("train/loss").data[0]
    assert len(losses) == 3 and all(0 < loss < 1e4 for loss in losses)
    scores = [name for name in runner.message_hub.log_scalars if name.endswith("NDS")]
    assert scores and 0 <= runner.message_hub.get_scalar(scores[0]).current() <= 1


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("scope", ["mmdet3d", "bevkit"])
def test_every_view_transformer_is_a_part_of_mmdet3d(name, scope):
    init_default_scope(scope)
    torch.manual_seed(0)
    grid = dict(x=(-20.0, 20.0, 4.0), y=(-12.0, 12.0, 4.0), z=(-3.0, 3.0, 3.0))
    view = bridge.MMDET3D_MODELS.build(dict(type="mmdet3d.BEVView", grid=grid, transformer=dict(VIEWS[name], type=name),
                                            in_channels=16, stride=16)).eval()
    rig = CameraRig.stack([random_rig(seed, 3) for seed in (0, 1)])
    rig = replace(rig, image_size=(96, 160))
    features = torch.randn(6, 16, 6, 10, requires_grad=True)
    bev = view((features,), rig).bev
    assert bev.shape == (2, view.out_channels, 6, 10)
    bev.square().sum().backward()
    assert features.grad.isfinite().all() and features.grad.any()
    one = view((features[:3],), rig[:1]).bev  # samples do not mix
    assert torch.allclose(one, bev[:1], atol=1e-4)


def test_cameras_follow_what_the_pipeline_does_to_boxes():
    """Boxes turned, scaled, shifted and flipped by mmdet3d are seen at the pixels where they were before."""
    rig = random_rig(3, 4)
    lidar2cam = torch.linalg.inv(rig.ego_from_camera).numpy()
    zoom = np.diag([0.5, 0.5, 1.0])
    meta = dict(lidar2cam=list(lidar2cam), cam2img=list(zoom @ rig.intrinsics.numpy()),
                ori_cam2img=list(rig.intrinsics.numpy()))
    plain = bridge.rig_of_samples([meta], (50, 80))
    assert torch.allclose(plain.image_aug, torch.from_numpy(zoom)) and plain.image_size == (50, 80)
    assert torch.allclose(plain.intrinsics[0], rig.intrinsics)

    boxes = bridge.LiDARInstance3DBoxes(torch.rand(30, 9) * 20 - 10, box_dim=9)
    seen, depth, _ = plain.project(boxes.gravity_center.double())
    _, turn = boxes.rotate(0.4, torch.zeros(1, 3))
    boxes.scale(1.1)
    boxes.translate(torch.tensor([0.3, -0.2, 0.1]))
    boxes.flip("horizontal")
    moved = dict(meta, transformation_3d_flow=["R", "S", "T", "HF"], pcd_rotation=turn.numpy(), pcd_scale_factor=1.1,
                 pcd_trans=[0.3, -0.2, 0.1], pcd_horizontal_flip=True)
    other, depths, _ = bridge.rig_of_samples([moved], (50, 80)).project(boxes.gravity_center.double())
    ahead = depth > 1.0
    assert ahead.sum() > 20 and torch.allclose(other[ahead], seen[ahead], atol=0.02)


def test_samples_without_calibration_are_refused():
    with pytest.raises(ValueError, match="no lidar2cam; load images with LoadMultiViewImageFromFiles"):
        bridge.rig_of_samples([dict(cam2img=[np.eye(3)])], (50, 80))


def test_bevkit_trains_with_a_backbone_of_mmdet_and_a_neck_of_mmdet3d(tiny_overrides, tmp_path):
    (tmp_path / "config.py").write_text(OURS.replace('"configs/', f'"{ROOT.as_posix()}/configs/'))
    cfg = load_config(tmp_path / "config.py", [*tiny_overrides, "train_dataloader.dataset.keyframes=(0, 4)",
                                               "train_cfg.max_epochs=1", "train_cfg.val_interval=9"])
    encoder = build_model(cfg).image_encoder
    assert (encoder.backbone.channels, encoder.backbone.strides) == ((128, 256), (8, 16))
    assert (encoder.channels, encoder.strides) == ((32,), (8,))
    features = encoder(torch.zeros(2, 3, 64, 96))
    assert [feature.shape for feature in features] == [(2, 32, 8, 12)]

    runner = build_runner(cfg, tmp_path / "work")
    before = {name: value.detach().clone() for name, value in runner.model.named_parameters()}
    runner.train()
    still = [name for name, value in runner.model.named_parameters()
             if name.startswith("image_encoder") and value.equal(before[name])]
    assert not still
