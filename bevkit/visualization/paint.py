"""Colours, lettering, joining and files of pictures; a picture is a uint8 RGB array [h w 3]."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bevkit.files import write_atomically
from bevkit.structures.classes import CLASSES

Picture = NDArray[np.uint8]

GROUND = (16, 20, 27)
LINE = (40, 48, 60)
MUTED = (139, 151, 168)
INK = (229, 234, 241)
GOLDEN = 0.6180339887498949


def oklch(lightness: Any, chroma: Any, hue: Any) -> Picture:
    """Returns the colours [.. 3] of equal-looking lightness (0..1), chroma (0..0.3) and hue (turns).

    Source: B. Ottosson, "A perceptual color space for image processing" (Oklab).
    """
    lightness, chroma, hue = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64)
                                                   for value in (lightness, chroma, hue)))
    a, b = chroma * np.cos(2 * np.pi * hue), chroma * np.sin(2 * np.pi * hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = np.stack((4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
                       -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
                       -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short), axis=-1).clip(0, 1)
    gamma = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (gamma * 255).round().astype(np.uint8)


CLASS_HUES = (0.66, 0.44, 0.55, 0.36, 0.27, 0.05, 0.92, 0.82, 0.17, 0.72)
# Barriers stand in long rows: pale grey keeps them from drowning the rest.
CLASS_COLORS = oklch(0.76, np.array([0.15] * 9 + [0.02]), np.array(CLASS_HUES))


def class_colors(labels: Any) -> Picture:
    """Returns the colour [A 3] of each class index [A]; grey for -1 (none of the classes)."""
    labels = np.asarray(labels, dtype=np.int64)
    return np.where(labels[:, None] < 0, np.uint8(150), CLASS_COLORS[labels % len(CLASS_COLORS)])


def instance_colors(ids: Any) -> Picture:
    """Returns the colour [.. 3] of each instance number [..]: always the same for a number, neighbours far apart."""
    ids = np.asarray(ids, dtype=np.int64)
    return oklch(0.66 + 0.09 * (ids % 3), 0.16, (ids * GOLDEN) % 1)


def blend(image: Picture, mask: NDArray[np.bool_], color: Any, alpha: float) -> None:
    """Lays a colour ([3], or one a pixel [h w 3]) over the pixels of a mask [h w], in place."""
    color = np.asarray(color, dtype=np.float32)
    chosen = color[mask] if color.ndim == 3 else color
    image[mask] = (image[mask] * (1 - alpha) + chosen * alpha).round().astype(np.uint8)


@lru_cache(maxsize=16)
def font(size: int) -> Any:
    """Returns Pillow's built-in typeface at a size in pixels."""
    return ImageFont.load_default(size)


def write(image: Picture, text: str, at: tuple[float, float], size: int = 13, color: Sequence[int] = INK,
          anchor: str = "la", plate: Sequence[int] | None = None) -> None:
    """Writes text into a picture, in place; ``anchor`` as in Pillow, ``plate`` colours a rounded plate behind it."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    if plate is not None:
        left, top, right, bottom = draw.textbbox(at, text, font=font(size), anchor=anchor)
        pad = size * 0.45
        draw.rounded_rectangle((left - pad, top - pad * 0.8, right + pad, bottom + pad * 0.8), pad, fill=tuple(plate))
    draw.text(at, text, font=font(size), fill=tuple(color), anchor=anchor)
    image[:] = np.asarray(canvas)


def class_legend(labels: Any, width: int, size: int = 13) -> Picture:
    """Draws a line of a width that names the colours of the classes among ``labels`` [A]."""
    image = _blank(round(size * 2.0), width, GROUND)
    left, middle = size * 0.6, size
    for label in np.unique(np.asarray(labels, dtype=np.int64)).tolist():
        name = CLASSES[label].replace("_", " ") if 0 <= label < len(CLASSES) else "other"
        wide = font(size).getlength(name)
        if left + size * 1.3 + wide > width:
            break
        top, start = round(middle - size * 0.4), round(left)
        image[top:top + round(size * 0.8), start:start + round(size * 0.8)] = class_colors([label])[0]
        write(image, name, (left + size * 1.2, middle), size, MUTED, "lm")
        left += size * 2.6 + wide
    return image


def titled(image: Picture, title: str, right: str = "", size: int = 14) -> Picture:
    """Returns the picture under a line of text, with a second text at the right end of the line."""
    bar = np.full((round(size * 2.0), image.shape[1], 3), GROUND, dtype=np.uint8)
    middle = bar.shape[0] / 2
    write(bar, title, (size * 0.6, middle), size, INK, "lm")
    if right:
        write(bar, right, (bar.shape[1] - size * 0.6, middle), size, MUTED, "rm")
    return np.concatenate((bar, image))


def row(images: Sequence[Picture], gap: int = 6, ground: Sequence[int] = GROUND) -> Picture:
    """Joins pictures from left to right, middles on one line."""
    height = max(image.shape[0] for image in images)
    parts = [_pad(image, height, image.shape[1], ground) for image in images]
    return np.concatenate([part for image in parts
                           for part in (_blank(height, gap, ground), image)][1:], axis=1)


def column(images: Sequence[Picture], gap: int = 6, ground: Sequence[int] = GROUND) -> Picture:
    """Joins pictures from top to bottom, centred."""
    width = max(image.shape[1] for image in images)
    parts = [_pad(image, image.shape[0], width, ground) for image in images]
    return np.concatenate([part for image in parts for part in (_blank(gap, width, ground), image)][1:], axis=0)


def _blank(height: int, width: int, ground: Sequence[int]) -> Picture:
    return np.full((height, width, 3), ground, dtype=np.uint8)


def _pad(image: Picture, height: int, width: int, ground: Sequence[int]) -> Picture:
    canvas = _blank(height, width, ground)
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    canvas[top:top + image.shape[0], left:left + image.shape[1]] = image
    return canvas


def encode(image: Picture, form: str = "PNG", quality: int = 82) -> bytes:
    """Returns the file content of a picture: ``PNG``, ``JPEG``, ``WEBP``, or ``WEBP`` without loss at quality 100."""
    buffer = io.BytesIO()
    if form == "WEBP":
        Image.fromarray(image).save(buffer, form, quality=quality, lossless=quality >= 100, method=4)
    elif form == "JPEG":
        Image.fromarray(image).save(buffer, form, quality=quality)
    else:
        Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


def save_png(path: str | Path, image: Picture) -> Path:
    """Writes a picture as PNG."""
    return write_atomically(path, encode(image))


def data_uri(image: Picture, photo: bool) -> str:
    """Returns a picture as a data URI: a photograph with small losses, a drawing exactly."""
    data = encode(image, "WEBP", 80 if photo else 100)
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def shared_palette(images: Sequence[Picture]) -> Image.Image:
    """Chooses 256 colours for all pictures of an animation, so that none flickers.

    Median cut serves the large soft areas of photographs, maximum coverage the few bright cells of a dark map.
    """
    some = Image.fromarray(np.concatenate([image[::2, ::2] for image in images[:: max(1, len(images) // 6)]]))
    colors = list(GROUND)
    for method, count in ((Image.Quantize.MEDIANCUT, 127), (Image.Quantize.MAXCOVERAGE, 128)):
        chosen = some.quantize(count, method).getpalette() or []
        colors += (chosen + [0] * 3 * count)[: 3 * count]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colors)
    return palette


def save_gif(path: str | Path, images: Sequence[Picture], seconds: float = 0.5) -> Path:
    """Writes pictures of one size as an endless animation, each shown for some seconds, the last twice as long."""
    if not images:
        raise ValueError("animation: expected at least one picture, got none; check that the scene has whole clips")
    palette = shared_palette(images)
    frames = [Image.fromarray(image).quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [round(seconds * 1000)] * (len(frames) - 1) + [round(seconds * 2000)]
    buffer = io.BytesIO()
    # disposal 1 leaves the last frame in place; optimize=False keeps frames that equal their predecessor.
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=False)
    return write_atomically(path, buffer.getvalue())
