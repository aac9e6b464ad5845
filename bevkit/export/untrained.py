"""What untrained weights need before their graph says anything about a trained one's."""

from __future__ import annotations

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from bevkit.export.graph import instants_of
from bevkit.models.architectures import Architecture
from bevkit.structures import BEVBatch


@torch.no_grad()
def settle_norms(model: Architecture, clip: BEVBatch) -> None:
    """Gives the batch norms of the image encoder the statistics of a clip's first images, as training would.

    At rest fresh norms do nothing, and what a deep network of random weights returns is of any size (V2-99: 200,000,
    beyond float16): queries that choose where they look by such numbers choose anew at every rounding.

    Args: clip as loaded.
    """
    images = model.data_preprocessor({"batch": next(instants_of(clip))})["batch"].images
    norms = [part for part in model.image_encoder.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    model.image_encoder(images.flatten(0, 2))
    for norm, momentum in zip(norms, momenta):
        norm.eval()
        norm.momentum = momentum
