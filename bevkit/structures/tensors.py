"""What every noun can do: move to a device, because its fields are tensors or nouns themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T", bound="TensorFields")


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Applies a change to every tensor in nested nouns, lists, tuples and dicts; other values stay."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, TensorFields):
        return value.map(change)
    if isinstance(value, dict):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(item, change) for item in value)
    return value


class TensorFields:
    """Base of the frozen dataclasses whose fields are tensors."""

    def map(self: T, change: Callable[[Tensor], Tensor]) -> T:
        """Returns a copy with every tensor changed."""
        changed = {item.name: map_tensors(getattr(self, item.name), change)
                   for item in fields(self)}  # type: ignore[arg-type]
        return replace(self, **changed)  # type: ignore[type-var]

    def to(self: T, device: torch.device | str, non_blocking: bool = False) -> T:
        """Returns a copy on a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def float(self: T) -> T:
        """Returns a copy whose floating-point tensors are float32; integers and booleans stay."""
        return self.map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
