"""Any timm backbone as a pyramid of image features; the only file that imports timm."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, get_args

import timm
import torch
import torch.nn.functional as F
from timm.layers import DropPath, create_attn
from timm.models import FeatureInfo
from timm.models.vovnet import OsaBlock
from torch import Tensor, nn

from bevkit.models.image.swin import pad_before_shift
from bevkit.registry import MODELS

Padding = Literal["native", "static_same"]
Windows = Literal["native", "padded"]
GatedBlocks = Literal["native", "all"]


class StaticSameConv2d(nn.Conv2d):
    """Convolves with the padding that TensorFlow's SAME rule gives for one nominal image size, whatever comes in.

    The padding may be one pixel wider at the right and bottom; efficientnet_pytorch (FIERY, PowerBEV) does this.
    """

    def __init__(self, conv: nn.Conv2d, nominal: int) -> None:
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,  # type: ignore[arg-type]
                         groups=conv.groups, bias=conv.bias is not None, device="meta")
        self.weight, self.bias = conv.weight, conv.bias
        total = max((math.ceil(nominal / self.stride[0]) - 1) * self.stride[0] + self.kernel_size[0] - nominal, 0)
        before, after = total // 2, total - total // 2
        self.pad = (before, after, before, after)  # left, right, top, bottom

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pad))


def pad_for_nominal_size(model: nn.Module, nominal: int) -> None:
    """Gives every strided convolution of a plain chain (EfficientNet, MobileNet) the SAME padding of one image size.

    Convolutions without stride keep their padding: SAME is symmetric there.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.stride[0] > 1:
                setattr(parent, name, StaticSameConv2d(child, nominal))
                nominal = math.ceil(nominal / child.stride[0])


def gate_all_blocks(model: nn.Module) -> None:
    """Gives every block of a VoVNet the gate over its channels that timm gives the last one of each stage."""
    blocks = [module for module in model.modules() if isinstance(module, OsaBlock)]
    if not blocks:
        raise ValueError("gated_blocks: expected a VoVNet for 'all', got a model without its blocks; use 'native'")
    for block in blocks:
        if block.attn is None:
            block.attn = create_attn("ese", block.conv_concat.conv.out_channels)


@MODELS.register_module()
class TimmBackbone(nn.Module):
    """Turns images [M 3 h w] into features at chosen strides, finest first, by a timm model without its unused end.

    Args:
        model_name: a timm model with ``features_only``, such as ``"tf_efficientnet_b4"`` or ``"resnet50"``;
            ``"ese_vovnet99b"`` is VoVNet's V2-99, ``"swin_tiny_patch4_window7_224"`` takes any image size.
        out_strides: image pixels per feature cell of each output, ascending.
        pretrained: load timm's weights (needs a network, or a filled cache).
        checkpoint: a local file of timm weights instead.
        padding: ``"native"`` is timm's; ``"static_same"`` computes TensorFlow's SAME padding for the model's nominal
            image size only (224 for b0, 380 for b4), as the released FIERY and PowerBEV weights have seen.
        drop_path: rate of stochastic depth at the end of an EfficientNet, cut where the outputs end, or of a whole Swin
            transformer; rises linearly over the blocks.
        norm_momentum: momentum of the batch norms, None keeps timm's.
        norm_eval: the batch norms keep the statistics they came with, in training too.
        frozen_stride: layers up to this stride keep their weights and statistics; 0 = all learn.
        checkpointing: compute each stage anew for its gradients, which spares memory.
        windows: of a Swin transformer. ``"padded"``: a map is padded to whole windows before these are shifted, in the
            last stage too, as weights trained as detectors have seen. ``"native"`` is timm's, which lets the far sides
            of a map meet unless it is whole windows, and does not shift where the nominal image makes one window.
        gated_blocks: of a VoVNet. ``"all"``: every block weighs its channels, as the V2-99 of detectors does (DD3D's
            weights); ``"native"``, timm's: the last one of each stage.
        output_norm: a layer norm over the channels of each output, as a Swin transformer has in detectors.
        model_options: further options of the timm model, such as ``dict(embed_dim=48)``.
    """

    def __init__(self, model_name: str, out_strides: Iterable[int] = (8, 16), pretrained: bool = False,
                 checkpoint: str | None = None, padding: Padding = "native", drop_path: float = 0.0,
                 norm_momentum: float | None = None, norm_eval: bool = False, frozen_stride: int = 0,
                 checkpointing: bool = False, windows: Windows = "padded", gated_blocks: GatedBlocks = "native",
                 output_norm: bool = False, model_options: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.strides = tuple(out_strides)
        self.padding, self.windows, self.output_norm = padding, windows, output_norm
        swin = model_name.startswith("swin_")
        options = _swin_options(windows, drop_path) if swin else {}
        options |= model_options or {}
        info = _feature_info(model_name, options)
        indices = _indices_of(model_name, info, self.strides)
        self.model = timm.create_model(
            model_name, features_only=True, out_indices=indices, pretrained=pretrained or checkpoint is not None,
            **options,
            pretrained_cfg_overlay=dict(file=checkpoint) if checkpoint is not None else None)
        self.channels: tuple[int, ...] = tuple(self.model.feature_info.channels())
        self._last_axis_is_channels = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        blocks = _cut_after_last_output(self.model)
        for index, block in enumerate(blocks):
            # As in EfficientNet's code: only a block with an identity skip may be dropped.
            if drop_path and getattr(block, "has_skip", False):
                block.drop_path = DropPath(drop_path * index / len(blocks))
        if drop_path and not (blocks or swin):
            raise ValueError(f"drop_path: expected an EfficientNet-like model or a Swin transformer, got "
                             f"{model_name!r}; leave it at 0")
        if padding == "static_same":
            pad_for_nominal_size(self.model, timm.get_pretrained_cfg(model_name).input_size[-1])
        elif padding != "native":
            raise ValueError(f"padding: expected 'native' or 'static_same', got {padding!r}")
        if windows not in get_args(Windows):
            raise ValueError(f"windows: expected one of {get_args(Windows)}, got {windows!r}")
        if windows == "padded" and swin:
            pad_before_shift(self.model)
        if gated_blocks not in get_args(GatedBlocks):
            raise ValueError(f"gated_blocks: expected one of {get_args(GatedBlocks)}, got {gated_blocks!r}")
        if gated_blocks == "all":
            gate_all_blocks(self.model)
        self.norms = nn.ModuleList(nn.LayerNorm(count) for count in self.channels) if output_norm else None
        if norm_momentum is not None:
            for norm in _batch_norms(self.model):
                norm.momentum = norm_momentum
        self.frozen = _parts_up_to(self.model, model_name, info, frozen_stride)
        for part in self.frozen:
            part.requires_grad_(False)
        self.norm_eval = norm_eval
        if checkpointing:
            self.model.set_grad_checkpointing()

    def train(self, mode: bool = True) -> TimmBackbone:
        super().train(mode)
        for part in self.frozen:
            part.eval()
        if self.norm_eval:
            for norm in _batch_norms(self.model):
                norm.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.model(images)
        if self.norms is not None:
            if not self._last_axis_is_channels:
                features = [feature.permute(0, 2, 3, 1) for feature in features]
            features = [norm(feature) for norm, feature in zip(self.norms, features, strict=True)]
        if self._last_axis_is_channels or self.norms is not None:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return tuple(features)  # each [M C h/stride w/stride]


def _swin_options(windows: Windows, drop_path: float) -> dict[str, Any]:
    """Returns what lets a Swin transformer take images of any size, with windows of one size if they are padded."""
    return dict(strict_img_size=False, always_partition=windows == "padded", drop_path_rate=drop_path)


def _feature_info(model_name: str, options: dict[str, Any]) -> FeatureInfo:
    """Returns what timm says of all features that a model offers."""
    with torch.device("meta"):
        return timm.create_model(model_name, features_only=True, **options).feature_info


def _indices_of(model_name: str, info: FeatureInfo, strides: tuple[int, ...]) -> tuple[int, ...]:
    offered = info.reduction()
    if list(strides) != sorted(set(strides)) or not set(strides) <= set(offered):
        raise ValueError(f"out_strides: expected ascending strides out of {offered} for {model_name!r}, got {strides}")
    return tuple(offered.index(stride) for stride in strides)


def _batch_norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def _parts_up_to(model: nn.Module, model_name: str, info: FeatureInfo, stride: int) -> list[nn.Module]:
    """Returns the children of a timm model up to the last one that gives features at a stride; [] for stride 0."""
    if not stride:
        return []
    ends = [name for name, offered in zip(info.module_name(), info.reduction()) if offered <= stride]
    names = [name for name, _ in model.named_children()]
    # A chain of stages ends inside of "blocks" ("blocks.2"): what lies before it is taken stage by stage.
    end = ends[-1].replace(".", "_") if ends else ""
    if end in names:
        return [child for _, child in list(model.named_children())[: names.index(end) + 1]]
    outer, _, number = ends[-1].rpartition(".") if ends else ("", "", "")
    if outer in names and number.isdigit():
        before = [child for _, child in list(model.named_children())[: names.index(outer)]]
        return [*before, *list(getattr(model, outer))[: int(number) + 1]]
    raise ValueError(f"frozen_stride: expected one of {info.reduction()} for {model_name!r}, got {stride}")


def _cut_after_last_output(model: nn.Module) -> list[nn.Module]:
    """Drops the stages behind the last output of a chain of stages and returns the blocks kept; else returns []."""
    last = model.feature_info.module_name()[-1].split(".")  # such as "blocks.4"
    if last[0] != "blocks" or not isinstance(getattr(model, "blocks", None), nn.Sequential):
        return []
    model.blocks = model.blocks[: int(last[1]) + 1]
    return [block for stage in model.blocks for block in stage]
