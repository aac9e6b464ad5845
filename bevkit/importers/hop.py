"""HoP's weights (Sense-X/HoP): BEVDet4D's, and those of what is there in training only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from bevkit.importers.base import Rule, Translation, translate
from bevkit.importers.bevdet import bevdet_rules
from bevkit.importers.bevformer import attention_rules, layer_rules
from bevkit.importers.centerpoint import center_head_rules


def predictor_rules(old: str, new: str, layers: int) -> list[Rule]:
    """Rules of the bi-temporal predictor: prefixes with their last dot, the first a regular expression."""
    rules = [Rule(old + "frame_embeds", new + "frame_embedding"), Rule(old + r"proj\.(.+)", new + r"project.\1"),
             Rule(old + r"input_proj\.(.+)", new + r"narrow.\1"), Rule(old + r"output_proj\.(.+)", new + r"output.\1")]
    for index, name in enumerate(("short", "long")):
        rules.append(Rule(old + rf"queries_{name}\.weight", new + f"queries.{index}"))
        for layer in range(layers):
            theirs, ours = old + rf"decoder_{name}\.layers\.{layer}", f"{new}decoders.{index}.{layer}"
            rules += [*attention_rules(theirs + r"\.attentions\.0", ours + ".attention"), *layer_rules(theirs, ours)]
    return rules


def translate_hop(state: Mapping[str, Tensor], target: Mapping[str, Any]) -> Translation:
    """Renames the authors' entries for `DenseBEV`; a model without the auxiliary leaves its weights behind.

    Args:
        state: the authors' entries.
        target: entries of the bevkit model.
    """
    rules, options = bevdet_rules(target)
    places = {name.split("predictor.")[0] for name in target if "predictor.decoders." in name}
    if places:
        place = places.pop()
        layers = sum(name.startswith(place + "predictor.decoders.0.") and name.endswith("norms.0.weight")
                     for name in target)
        rules += predictor_rules(r"history_decoder\.", place + "predictor.", layers)
        rules += [replace(rule, name=rule.name and place + rule.name)
                  for rule in center_head_rules(r"aux_bbox_head\.(?:0\.)?")]
    else:
        rules.append(Rule(r"(history_decoder|aux_bbox_head)\..+", None, reason="there in training only"))
    return translate(state, rules, options)
