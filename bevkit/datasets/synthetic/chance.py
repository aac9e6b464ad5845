"""Draws reproducible chance: one independent random stream per (seed, scene, purpose)."""

import hashlib

import numpy as np


def digest(*parts: object) -> str:
    """Turns any parts into 32 hexadecimal digits, the same on every machine."""
    return hashlib.md5("/".join(str(part) for part in parts).encode()).hexdigest()


def stream(*parts: object) -> np.random.Generator:
    """Opens the random stream that belongs to these parts."""
    key = digest("stream", *parts)
    return np.random.default_rng([int(key[i : i + 8], 16) for i in range(0, 32, 8)])
