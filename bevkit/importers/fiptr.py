"""FipTR's weights (TabGuigui/FipTR), whole: the rules of both halves side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bevkit.importers.base import Translation, translate
from bevkit.importers.fiptr_front import fiptr_front_rules
from bevkit.importers.fiptr_head import fiptr_head_rules


def translate_fiptr(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV`, and turns boxes and classes.

    Args:
        state: the authors' entries, of a whole detector.
        target: entries of the bevkit model.
    """
    front, front_options = fiptr_front_rules(state)
    head, head_options = fiptr_head_rules(target)
    return translate(state, [*front, *head], {**front_options, **head_options})
