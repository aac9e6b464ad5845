"""What the PowerBEV parity tests share: the authors' axis order, error measure, and models built from their config."""

from pathlib import Path

import torch
from torch import Tensor, nn

from bevkit.geometry.rigid import inverse, motion_matrix
from bevkit.importers import import_checkpoint
from bevkit.importers.powerbev import translate_powerbev
from bevkit.models.architectures import DenseBEV
from bevkit.models.future import PowerBEVHead
from bevkit.registry import MODELS
from bevkit.structures import BEVBatch, BEVGrid, CameraRig

ANY_GRID = BEVGrid(x=(-1, 1, 0.5), y=(-1, 1, 0.5))  # where a part takes the grid but its numbers do not matter


def floats(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def turned(maps: Tensor) -> Tensor:
    """Between the authors' [.. X Y] and ours [.. Y X], both ways."""
    return maps.transpose(-1, -2)


def turned_flow(flow: Tensor) -> Tensor:
    """Likewise for vectors [.. 2 X Y]: the authors' channel 0 is y."""
    return turned(flow).flip(-3)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the authors' largest value."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def load_translated(model: nn.Module, state: dict[str, Tensor], but_for: tuple[str, ...] = ()) -> None:
    """Loads the authors' entries through the importer; every entry of both sides must find its partner."""
    translation = translate_powerbev(floats(state), model.state_dict())
    assert translation.unknown == []
    result = model.load_state_dict(translation.state, strict=False)
    assert result.unexpected_keys == []
    assert [name for name in result.missing_keys if not name.endswith(but_for)] == []


def poses_of(motions: Tensor) -> Tensor:
    """Poses [B T 4 4] whose steps are the authors' ego motions [B T 6]: inverse(pose[t+1]) @ pose[t]."""
    steps = motion_matrix(motions)
    poses = [torch.eye(4, dtype=motions.dtype).expand(len(motions), 4, 4)]
    for index in range(motions.shape[1] - 1):
        poses.append(poses[-1] @ inverse(steps[:, index]))
    return torch.stack(poses, dim=1)


def image_encoder_config(name: str, neck_channels: int = 128) -> dict:
    return dict(type="ImageEncoder", neck=dict(type="UpsampleConcat", out_channels=neck_channels),
                backbone=dict(type="TimmBackbone", model_name="tf_" + name.replace("-", "_"), padding="static_same"))


def lifting_config(config: dict) -> dict:
    """Grid, image encoder and lift of DenseBEV for a reference file's config, with the numerics of the authors."""
    return dict(
        grid=dict(x=config["x_bound"], y=config["y_bound"], z=config["z_bound"]),
        image_encoder=image_encoder_config(config["encoder"]),
        view_transformer=dict(type="LiftSplat", channels=config["context_channels"], depth=config["d_bound"],
                              image_size=config["image_size"], frustum="corner", indexing="truncate"))


def dense_config(config: dict, static: bool = False) -> dict:
    """The config of DenseBEV, without its type, for a reference file's config, with the numerics of the authors."""
    parts = lifting_config(config)
    if static:
        return parts | dict(bev_encoder=dict(type="ResNetUNet"),
                            head=dict(type="SegmentationHead", classes=config.get("n_classes", 2)))
    frames = config["time_receptive_field"]
    return parts | dict(
        temporal=dict(type="AlignAndStack", past=frames - 1, ego_motion=config["input_egopose"], warp="fiery"),
        head=dict(type="PowerBEVHead", frames=frames, future=config["n_future_frames"], classes=config["n_classes"],
                  num_features=config["num_features"], latent_dim=config["latent_dim"],
                  num_blocks=config["num_blocks"], norm_momentum=config["bn_momentum"]))


def encoder_parts(name: str, depth_channels: int, neck_channels: int = 128) -> nn.ModuleDict:
    """An image encoder and the 1x1 depth layer, under the names they have in DenseBEV."""
    encoder = MODELS.build(image_encoder_config(name, neck_channels))
    depth_net = nn.Conv2d(neck_channels, depth_channels, 1)
    return nn.ModuleDict(dict(image_encoder=encoder, view_transformer=nn.ModuleDict(dict(depth_net=depth_net))))


def head_of(config: dict, in_channels: int, **options) -> PowerBEVHead:
    """The head for a reference file's config; in_channels per frame, ego-motion planes included."""
    assert config["out_frames"] == config["n_future_frames"] + 2
    frames = config["time_receptive_field"]
    return PowerBEVHead(ANY_GRID, in_channels * frames, frames, config["n_future_frames"], config["num_features"],
                        config["latent_dim"], config["num_blocks"], config["n_classes"],
                        norm_momentum=config["bn_momentum"], **options)


def named_part(name: str, part: nn.Module) -> nn.ModuleDict:
    """A module that holds one part under its name in DenseBEV."""
    return nn.ModuleDict({name: part})


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def no_grad_call(module: nn.Module, *inputs: Tensor):
    with torch.no_grad():
        return module.eval()(*inputs)


def imported_and_run(data: dict, system: str, model: DenseBEV, folder: Path) -> tuple:
    """Reads the authors' weights through the importer's door; returns its report and (raw, trace) of their input."""
    path = folder / "lightning.ckpt"
    torch.save({"epoch": 1, "state_dict": prefixed("model.", floats(data["state_dict"]))}, path)
    report = import_checkpoint(path, system, model)
    config = data["meta"]["config"]
    frames = config["time_receptive_field"]  # the authors read no others
    intrinsics = data["intrinsics"][:, :frames]
    batch = BEVBatch(
        images=data["image"][:, :frames].float(),
        rig=CameraRig(intrinsics, torch.eye(3).expand_as(intrinsics), data["extrinsics"][:, :frames],
                      tuple(config["image_size"])),
        global_from_ego=poses_of(data["future_egomotion"][:, :frames]), timestamps=torch.zeros(len(intrinsics), frames),
        boxes=[], targets={}, meta=[])
    with torch.no_grad():
        return report, *model.run_clip(batch)
