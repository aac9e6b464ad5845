"""Pictures of map layers: the cameras, and truth and prediction from above."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from bevkit.structures import BEVClip
from bevkit.visualization.bev import BEVCanvas, draw_ego, ground
from bevkit.visualization.paint import MUTED, Picture, blend, oklch, write
from bevkit.visualization.scenes import ClipPictures, camera_view

HUES = {"drivable": (0.48, 0.05, 0.62), "vehicle": (0.78, 0.15, 0.16)}  # lightness, chroma, hue (oklch)


def draw_masks(canvas: BEVCanvas, masks: Tensor, layers: Sequence[str]) -> Picture:
    """Draws masks [K Y X] bool over one another, in the order of the layers, with a legend."""
    image = ground(canvas)
    for index, (mask, name) in enumerate(zip(masks, layers)):
        color = oklch(*HUES.get(name, (0.7, 0.12, index / len(layers))))
        blend(image, canvas.spread(mask.numpy()), color, 0.85)
        write(image, name, (8, canvas.shape[0] - 22 - 16 * index), 12, tuple(color.tolist()))
    return draw_ego(image, canvas)


def draw_map_layers(clip: BEVClip, found: Tensor, truth: Tensor | None, layers: Sequence[str], canvas: BEVCanvas,
                    name: str = "", width: int = 1200) -> ClipPictures:
    """Draws the present of a clip: its cameras, and layers [K Y X] bool as they are and as they were found.

    Args:
        truth: None where there is none.
        width: of the camera views in pixels.
    """
    if truth is None:
        above = draw_ego(ground(canvas), canvas)
        write(above, "no truth here", (canvas.shape[1] / 2, canvas.shape[0] * 0.82), 14, MUTED, "mm")
    else:
        above = draw_masks(canvas, truth, layers)
    return ClipPictures(name, camera_view(clip.present, width), above, draw_masks(canvas, found, layers))
