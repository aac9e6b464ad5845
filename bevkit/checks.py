"""Refuses a tensor of the wrong shape with one sentence that says what was expected and what came."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Axes = dict[str, int]


def expect(name: str, tensor: object, shape: str, axes: Mapping[str, int] | None = None, *,
           dtype: torch.dtype | None = None) -> Axes:
    """Checks a tensor against a shape of axis letters and returns the letters with their sizes.

    Args:
        name: what the tensor is called where the user sees it, such as ``"rig.intrinsics"``.
        tensor: the value to check.
        shape: axis letters and sizes separated by blanks, such as ``"B N 3 3"``. A number must be met exactly, a
            letter is bound at its first use and must repeat afterwards, ``*`` (first only) stands for any leading axes.
        axes: letters already bound, usually the result of an earlier ``expect``.
        dtype: the element type, where it matters.

    Returns:
        A new dict with the letters of ``axes`` and those bound here.

    Raises:
        TypeError: ``tensor`` is no tensor, or its dtype differs.
        ValueError: its shape does not fit.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected a tensor [{shape}], got {type(tensor).__name__}")
    if dtype is not None and tensor.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {tensor.dtype}; convert it with .to({dtype})")
    bound: Axes = dict(axes or {})
    words = shape.split()
    sizes = tuple(tensor.shape)
    if words and words[0] == "*":
        words = words[1:]
        sizes = sizes[max(len(sizes) - len(words), 0):]
    fits = len(sizes) == len(words)
    if fits:
        for word, size in zip(words, sizes):
            wanted = int(word) if word.isdigit() else bound.setdefault(word, size)
            fits = fits and wanted == size
    if not fits:
        known = ", ".join(f"{key}={value}" for key, value in (axes or {}).items() if key in shape.split())
        raise ValueError(f"{name}: expected shape [{shape}]{f' with {known}' if known else ''}, "
                         f"got {list(tensor.shape)}")
    return bound
