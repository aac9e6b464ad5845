"""Every entry of FIERY's full-size checkpoint finds its place, and nothing of the model stays without."""

import math

import pytest
import torch

from bevkit.engine.config import load_config
from bevkit.importers.fiery import translate_fiery
from bevkit.models.architectures import DenseBEV
from bevkit.registry import MODELS
from tests.conftest import ROOT
from tests.parity.fiery import fiery_config
from tests.parity.powerbev import prefixed

GEOMETRY = {"frustum", "bev_resolution", "bev_start_position", "bev_dimension"}
WEIGHTS = {"segmentation": "segmentation", "centerness": "center", "offset": "offset", "flow": "flow"}


@pytest.fixture(scope="module")
def full_size(golden) -> tuple[dict, DenseBEV, dict]:
    """Key list, model without memory behind it, and a checkpoint of the listed shapes, likewise."""
    listed = golden("instance/keys_fiery_baseline.json")
    with torch.device("meta"):
        model = DenseBEV(**fiery_config(listed["meta"]["config"]))
        state = {key: torch.empty(shape) for key, shape in listed["keys"].items()}
    return listed, model, state


@pytest.mark.parametrize("lightning", [True, False])
def test_every_key_is_used(full_size, lightning):
    _, model, state = full_size
    wanted = model.state_dict()
    weights = {f"head.{name}_weight.log_variance" for name in WEIGHTS.values()}
    if lightning:
        state = state | {f"{name}_weight": torch.empty((), device="meta") for name in WEIGHTS}
        state = prefixed("model.", state)
    translation = translate_fiery(state, wanted)

    assert translation.unknown == []
    assert {key.removeprefix("model.") for key in translation.dropped} == GEOMETRY
    assert set(wanted) - set(translation.state) == (set() if lightning else weights)
    assert set(translation.optional) == weights
    for key, value in translation.state.items():
        assert value.shape == wanted[key].shape, key
    assert len(set(translation.state)) == len(state) - len(GEOMETRY)  # no two entries share a place
    assert translation.options["temporal.warp"] == "fiery" and translation.options["head.raw_labels"]


def test_parameters_are_the_published_ones(full_size):
    listed, model, _ = full_size
    counted = sum(parameter.numel() for key, parameter in model.named_parameters() if not key.endswith("log_variance"))
    geometry = sum(math.prod(listed["keys"][key]) for key in GEOMETRY)
    assert geometry == listed["n_params_frozen_geometry"]
    assert counted == listed["n_params_total"] - geometry


def test_the_config_has_the_published_size(full_size):
    """configs/prediction/fiery_long.py takes the authors' checkpoint as it is, once the named options are set."""
    _, model, state = full_size
    with torch.device("meta"):
        ours = MODELS.build(load_config(ROOT / "configs/prediction/fiery_long.py").model)
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert shapes == {name: value.shape for name, value in model.state_dict().items()}
    options = translate_fiery(state, ours.state_dict()).options
    assert {name for name, value in options.items() if name.startswith(("temporal", "head", "level"))} == {
        "temporal.warp", "head.raw_labels", "head.coder.reuse_ids", "level_ego"}


def test_the_pre_training_fits_into_the_whole_model():
    shapes = []
    for name in ("single_frame", "long"):
        with torch.device("meta"):
            model = MODELS.build(load_config(ROOT / f"configs/prediction/fiery_{name}.py").model)
        shapes.append({key: value.shape for key, value in model.state_dict().items()})
    single, whole = shapes
    assert single.items() <= whole.items()
    new = {name.split(".")[1] for name in set(whole) - set(single) if name.startswith("head.")}
    assert new == {"present_distribution", "future_distribution", "predictor", "flow_head", "flow_weight"}
