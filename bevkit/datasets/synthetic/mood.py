"""Time of day, weather and the camera's own habits: what makes two scenes look unlike each other."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Mood:
    """Light and lens of one scene. Colours are BGR, 0 to 1 for light and 0 to 255 for the sky."""

    sun: np.ndarray  # unit vector towards the sun
    sunlight: np.ndarray  # colour and strength of direct light
    ambient: np.ndarray  # colour and strength of the sky's light
    zenith: np.ndarray
    horizon: np.ndarray
    cloud: np.ndarray
    cover: float  # how much of the sky is cloud, 0 to 1
    haze: float  # distance at which haze takes 63 % of the contrast, m
    shadow: float  # light left in a cast shadow, 0 to 1
    exposure: float
    balance: np.ndarray  # white balance gains, BGR
    contrast: float
    gamma: float  # below 1 lifts the darks
    saturation: float
    noise: float  # standard deviation, grey levels
    blur: float  # of the lens, output pixels
    vignette: float
    quality: int  # of the JPEG


WEATHERS = ("clear", "hazy", "overcast", "golden", "dusk")


def make_mood(rng: np.random.Generator) -> Mood:
    """Rolls the dice for the weather and the camera settings of a scene."""
    weather = str(rng.choice(WEATHERS, p=[0.34, 0.18, 0.24, 0.14, 0.10]))
    height = np.radians({"golden": rng.uniform(12, 25), "dusk": rng.uniform(8, 15)}.get(weather, rng.uniform(30, 68)))
    turn = rng.uniform(0, 2 * np.pi)
    sun = np.array([np.cos(height) * np.cos(turn), np.cos(height) * np.sin(turn), np.sin(height)])
    direct, sky = {
        "clear": (0.75, 0.42),
        "hazy": (0.5, 0.52),
        "overcast": (0.14, 0.72),
        "golden": (0.75, 0.42),
        "dusk": (0.12, 0.36),
    }[weather]
    tint = {"golden": (0.72, 0.92, 1.12), "dusk": (1.15, 0.98, 0.95)}.get(weather, (0.95, 1.0, 1.03))
    zenith, horizon, cloud = {
        "clear": ((205, 140, 80), (235, 215, 190), (250, 248, 245)),
        "hazy": ((205, 180, 150), (225, 220, 212), (235, 234, 232)),
        "overcast": ((190, 182, 175), (215, 212, 208), (165, 160, 155)),
        "golden": ((190, 140, 95), (165, 200, 240), (190, 215, 250)),
        "dusk": ((110, 78, 58), (120, 128, 165), (95, 85, 90)),
    }[weather]
    # the camera exposes for the mean of a sunlit street and of walls in the shade; dusk stays dark
    seen = 0.5 * (direct * sun[2] + sky) + 0.5 * (0.8 * sky + 0.25 * direct)
    exposure = rng.uniform(0.82, 1.15) * min(0.9 / seen, 1.7) * (0.72 if weather == "dusk" else 1.0)
    return Mood(
        sun,
        direct * np.array(tint) * rng.uniform(0.85, 1.1),
        sky * np.array([1.06, 1.0, 0.95]) * rng.uniform(0.9, 1.1),
        np.array(zenith) * rng.uniform(0.9, 1.1),
        np.array(horizon) * rng.uniform(0.95, 1.05),
        np.array(cloud, float),
        {"overcast": 0.85, "clear": rng.uniform(0.05, 0.5)}.get(weather, rng.uniform(0.2, 0.7)),
        float({"hazy": rng.uniform(130, 250)}.get(weather, rng.uniform(300, 900))),
        {"clear": 0.52, "hazy": 0.62, "overcast": 0.82, "golden": 0.58, "dusk": 0.8}[weather],
        float(exposure),
        rng.uniform(0.93, 1.07, 3),
        float(rng.uniform(0.9, 1.12)),
        float(rng.uniform(0.75, 0.92)),
        float(rng.uniform(0.7, 1.15)),
        float(rng.uniform(1.0, 4.5)) * (1.8 if weather == "dusk" else 1.0),
        float(rng.uniform(0.25, 0.6)),
        float(rng.uniform(0.05, 0.3)),
        int(rng.integers(84, 93)),
    )


def noise_texture(rng: np.random.Generator, size: int, octaves: int) -> np.ndarray:
    """Grows a cloudy grey texture [size size], mean 0 and standard deviation 1, that repeats without a seam."""
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = min(size, 4 * 2**octave)
        grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
        scale = size // cells
        grown = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += grown[2 * scale : 2 * scale + size, 2 * scale : 2 * scale + size] * 0.55**octave
    return (total - total.mean()) / (total.std() + 1e-6)
