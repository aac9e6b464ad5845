"""Every entry of the authors' full-size checkpoints finds its place, by either naming, and nothing stays without."""

import math
import re

import pytest
import torch

from bevkit.importers.efficient import translate_efficient
from bevkit.models.architectures import DenseBEV
from tests.parity.efficient import model_config
from tests.parity.powerbev import prefixed

GEOMETRY = {f"feature_extractor.{name}" for name in ("frustum", "bev_resolution", "bev_start_position",
                                                     "bev_dimension")}
PUBLISHED = {"b0": 13_464_193, "tiny": 7_425_553}
# What transformers calls since 5.x what it called otherwise in 4.
LATER = [(r"encoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
         (r"encoder\.block\.(\d+)\.", r"stages.\1.blocks."),
         (r"encoder\.layer_norm\.(\d+)\.", r"stages.\1.layer_norm."),
         (r"attention\.self\.(q|k|v)(?:uery|ey|alue)\.", r"attention.\1_proj."),
         (r"attention\.self\.sr\.", r"attention.sequence_reduction.sequence_reduction."),
         (r"attention\.self\.layer_norm\.", r"attention.sequence_reduction.layer_norm."),
         (r"attention\.output\.dense\.", r"attention.o_proj."), (r"mlp\.dense(\d)\.", r"mlp.fc\1."),
         (r"\.layer_norm_1\.", ".layernorm_before."), (r"\.layer_norm_2\.", ".layernorm_after."),
         (r"decode_head\.linear_c\.", "decode_head.linear_projections.")]


@pytest.fixture(scope="module", params=["b0_short", "b0_short_published_sr88421", "tiny_short",
                                        "tiny_short_published_sr88421"])
def full_size(golden, request) -> tuple[str, dict, DenseBEV, dict]:
    """Name, key list, model without memory behind it, and a checkpoint of the listed shapes, likewise."""
    listed = golden(f"instance/keys_eip_{request.param}.json")
    with torch.device("meta"):
        model = DenseBEV(**model_config(listed["meta"]["config"]))
        state = {key: torch.empty(shape) for key, shape in listed["keys"].items()}
    return request.param, listed, model, state


def later(key: str) -> str:
    """An entry's name in late versions 5 of transformers, from that in version 4."""
    if "_branch." in key:
        for old, new in LATER:
            key = re.sub(old, new, key)
    return key


@pytest.mark.parametrize("names", ["plain", "later", "lightning"])
def test_every_key_is_used(full_size, names):
    _, _, model, state = full_size
    wanted = model.state_dict()
    weights = {key for key in wanted if key.endswith("log_variance")}
    if names == "later":
        assert len({later(key) for key in state} - set(state)) > 100
        state = {later(key): value for key, value in state.items()}
    elif names == "lightning":
        state = state | {key.split(".")[1]: torch.empty((), device="meta") for key in weights}
        state = prefixed("model.", state)
    translation = translate_efficient(state, wanted)

    assert translation.unknown == []
    assert translation.options["head.reductions"] == model.head.reductions
    assert {key.removeprefix("model.") for key in translation.dropped} == GEOMETRY
    assert set(wanted) - set(translation.state) == (set() if names == "lightning" else weights)
    assert set(translation.optional) >= weights
    for key, value in translation.state.items():
        assert value.shape == wanted[key].shape, key
    assert len(translation.state) == len(state) - len(GEOMETRY)  # no two entries share a place


def test_both_namings_lead_to_the_same_places(full_size):
    _, _, model, state = full_size
    renamed = {later(key): value for key, value in state.items()}
    one, other = (translate_efficient(names, model.state_dict()) for names in (state, renamed))
    assert {new: later(old) for new, old in one.origin.items()} == other.origin


def test_parameters_are_the_published_ones(full_size):
    name, listed, model, _ = full_size
    counted = sum(parameter.numel() for key, parameter in model.named_parameters() if not key.endswith("log_variance"))
    geometry = sum(math.prod(listed["keys"][key]) for key in GEOMETRY)
    assert counted == listed["n_params_total"] - geometry
    if "published" in name:
        assert counted + geometry == PUBLISHED[name.split("_")[0]]
