"""FIERY's head: a distribution of futures, each predicted recurrently and decoded frame by frame (ICCV 2021)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bevkit.models.coders.id_maps import IGNORE
from bevkit.models.future.base import FutureHead
from bevkit.models.future.distributions import Gaussian, kl_divergence
from bevkit.models.layers import conv_norm_relu
from bevkit.models.losses import MaskedRegression, TopKCrossEntropy, UncertaintyWeight
from bevkit.registry import MODELS, built
from bevkit.structures.grid import BEVGrid
from bevkit.structures.results import FutureInstances


class FieryFrame(NamedTuple):
    """What a head without futures says of the present, S = 1.

    segmentation: [B S K Y X] class logits.
    center: [B S 1 Y X] in 0..1, how close the centre of an instance is.
    offset: [B S 2 Y X] cells to the centre of the own instance, channel 0 = x, 1 = y.
    """

    segmentation: Tensor
    center: Tensor
    offset: Tensor


class FieryOutput(NamedTuple):
    """Frames run from the present to the last future one, S = F+1 in all.

    segmentation, center, offset: as in `FieryFrame`.
    flow: [B F+1 2 Y X] cells that the own instance moves until the next frame, channel 0 = x, 1 = y.
    latent_mean, latent_log_sigma: [B D L y x] distributions of the latent: the present one, and, where targets were
        given, the future one.
    """

    segmentation: Tensor
    center: Tensor
    offset: Tensor
    flow: Tensor
    latent_mean: Tensor
    latent_log_sigma: Tensor


@MODELS.register_module()
class FieryHead(FutureHead):
    """Predicts class, centres, offsets and forward flow of every cell for the frames t .. t+F (FIERY, ICCV 2021).

    The future is not certain: a latent vector says which of the possible ones is meant. In training it is drawn from a
    distribution that has seen the true future; a second one, of the present alone, learns to resemble it. `forward`
    without targets predicts the future of its mean, `samples` those of vectors drawn from it.

    BEVerse (2022) is ``distribution=dict(type="LatentDistribution", stages=2, spatial=True)`` and
    ``predictor=dict(type="FlowWarpPredictor")``.

    Args:
        grid: of the BEV map; handed to decoder and coder.
        in_channels: C of the BEV map.
        future: F, number of future frames; 0 leaves out all but the decoder, for the pre-training on single frames.
        latent_dim: L.
        classes: K; 0 is background.
        distribution: config of the two distributions' networks.
        predictor: config of the network that turns the present map and the latent into F maps.
        decoder: config of the network that each map goes through before its numbers are read.
        coder: module or config with ``decode``; needed by `predict` only.
        segmentation_loss, center_loss, offset_loss, flow_loss: module or config; the defaults are the paper's.
        segmentation_weight, center_weight, offset_weight, flow_weight: module or config of the weights between them.
        kl_weight: of the divergence of the present distribution from the future one.
        raw_labels: show the future distribution the targets' ignore value 255 as it is, as the authors' weights were
            trained, not as 0.
        norm_momentum: momentum of all batch norms.
    """

    def __init__(self, grid: BEVGrid, in_channels: int, future: int = 4, latent_dim: int = 32, classes: int = 2,
                 distribution: dict[str, Any] | None = None, predictor: dict[str, Any] | None = None,
                 decoder: dict[str, Any] | None = None, coder: Any = None, segmentation_loss: Any = None,
                 center_loss: Any = None, offset_loss: Any = None, flow_loss: Any = None,
                 segmentation_weight: Any = None, center_weight: Any = None, offset_weight: Any = None,
                 flow_weight: Any = None, kl_weight: float = 100.0, raw_labels: bool = False,
                 norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.future, self.kl_weight, self.raw_labels = future, kl_weight, raw_labels
        self.coder = built(coder, grid=grid)
        self.decoder = built(decoder or dict(type="ResNetUNet"), grid=grid, in_channels=in_channels)
        channels = self.decoder.channels
        self.segmentation_head = _per_cell(channels, classes)
        self.center_head, self.offset_head = _per_cell(channels, 1), _per_cell(channels, 2)
        self.segmentation_loss = built(segmentation_loss) or TopKCrossEntropy()
        self.center_loss = built(center_loss) or MaskedRegression("squared")
        self.offset_loss = built(offset_loss) or MaskedRegression("l1")
        self.segmentation_weight = built(segmentation_weight) or UncertaintyWeight(1.0)
        self.center_weight = built(center_weight) or UncertaintyWeight(0.5)
        self.offset_weight = built(offset_weight) or UncertaintyWeight(0.5)
        if future:
            def latent(channels: int) -> nn.Module:
                return built(distribution or dict(type="LatentDistribution"), in_channels=channels,
                             latent_dim=latent_dim)

            self.present_distribution = latent(in_channels)
            self.future_distribution = latent(in_channels + future * 6)  # class, centre, offset and flow of each frame
            self.predictor = built(predictor or dict(type="ConvGRUPredictor"), in_channels=in_channels,
                                   latent_dim=latent_dim)
            self.flow_head = _per_cell(channels, 2)
            self.flow_loss = built(flow_loss) or MaskedRegression("l1")
            self.flow_weight = built(flow_weight) or UncertaintyWeight(0.5)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = norm_momentum

    def forward(self, bev: Tensor, targets: dict[str, Tensor] | None = None) -> FieryOutput | FieryFrame:
        """Turns a map [B C Y X] into raw outputs: of a drawn future if the true one is given, else of the mean one."""
        if not self.future:
            return FieryFrame(*self._decoded(bev.unsqueeze(1)))
        present = self.present_distribution(bev)
        if targets is None:
            return self.foresee(bev, present.mean, present)
        future = self.future_distribution(torch.cat((bev, self._labels(targets).to(bev.dtype)), dim=1))
        return self.foresee(bev, future.sample(), present, future)

    def foresee(self, bev: Tensor, latent: Tensor, *distributions: Gaussian) -> FieryOutput:
        """Predicts the future of a map [B C Y X] that a latent [B L y x] means; the distributions are passed on."""
        latent = F.interpolate(latent.to(bev.dtype), size=bev.shape[-2:], mode="bilinear", align_corners=False)
        states = self.predictor(latent.unsqueeze(1).expand(-1, self.future, -1, -1, -1), bev)  # [B F C Y X]
        states = torch.cat((bev.unsqueeze(1), states), dim=1)
        return FieryOutput(*self._decoded(states), *(torch.stack(values, dim=1) for values in zip(*distributions)))

    @torch.no_grad()
    def samples(self, bev: Tensor, count: int, generator: torch.Generator | None = None) -> list[FieryOutput]:
        """Draws futures of a map [B C Y X] from the present distribution: ``count`` raw outputs."""
        if not self.future or count < 1:
            raise ValueError(f"samples: expected a head with future frames and 1 sample or more, got future="
                             f"{self.future} and {count} samples; a head of one frame is certain: ask for none")
        present = self.present_distribution(bev)
        return [self.foresee(bev, present.sample(generator), present) for _ in range(count)]

    def loss(self, raw: Any, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares with targets [B F+1 ..] of `InstanceCenterCoder.encode`; 255 is ignored."""
        self._expect_frames(targets)
        names = dict(segmentation="segmentation", center="centerness", offset="offset")
        if self.future:
            names["flow"] = "flow"
        losses = {}
        for name, target in names.items():
            loss = getattr(self, f"{name}_loss")(getattr(raw, name), targets[target])
            losses[f"loss_{name}"], losses[f"loss_{name}_uncertainty"] = getattr(self, f"{name}_weight")(loss)
        if self.future and raw.latent_mean.shape[1] == 1 and self.training:
            raise ValueError("FieryHead: expected raw outputs of a pass that was given the targets, got others, from "
                             "which the distributions learn nothing; train it on clips (not --stream)")
        if self.future and raw.latent_mean.shape[1] > 1:
            present, future = (Gaussian(raw.latent_mean[:, index], raw.latent_log_sigma[:, index]) for index in (0, 1))
            losses["loss_kl"] = self.kl_weight * kl_divergence(future, present)
        return losses

    @torch.no_grad()
    def predict(self, raw: Any) -> list[FutureInstances]:
        return self.coder.decode(raw)

    def _decoded(self, states: Tensor) -> tuple[Tensor, ...]:
        """Reads segmentation, centre, offset and, with a future, flow of maps [B S C Y X]."""
        maps = self.decoder(states.flatten(0, 1))
        outputs = [self.segmentation_head(maps), self.center_head(maps).sigmoid(), self.offset_head(maps)]
        if self.future:
            outputs.append(self.flow_head(maps))
        return tuple(output.unflatten(0, states.shape[:2]) for output in outputs)

    def _labels(self, targets: dict[str, Tensor]) -> Tensor:
        """Joins the targets of the future frames, frame by frame: [B F*6 Y X]."""
        self._expect_frames(targets)
        maps = torch.cat((targets["segmentation"].unsqueeze(2).float(), targets["centerness"], targets["offset"],
                          targets["flow"]), dim=2)[:, 1:]  # [B F 6 Y X]
        return (maps if self.raw_labels else maps.masked_fill(maps == IGNORE, 0)).flatten(1, 2)

    def _expect_frames(self, targets: dict[str, Tensor]) -> None:
        given = targets["segmentation"].shape[1]
        if given != self.future + 1:
            raise ValueError(f"FieryHead: expected targets of {self.future + 1} frames, present to future, got "
                             f"{given}; train it on clips (not --stream) with the future that the head is built for")


def _per_cell(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(*conv_norm_relu(in_channels, in_channels, 3), nn.Conv2d(in_channels, channels, 1))
