"""The authors' SegFormer branch: the maps of its stages, and what the classifier makes of them."""

import pytest
import torch

from bevkit.importers.efficient import translate_efficient
from bevkit.models.future import EfficientPredictionHead
from bevkit.structures import BEVGrid
from tests.parity.efficient import head_config
from tests.parity.powerbev import floats, named_part, prefixed, relative_error, turned, turned_flow


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/eip_segformer_branch.pt")
    config = data["meta"]["config"]
    rows, columns = config["input_size"]
    grid = BEVGrid(x=(0, rows, 1), y=(0, columns, 1))
    head = EfficientPredictionHead(grid, config["num_channels"], **head_config(config)).eval()
    return data, head


def loaded(data, head, name):
    """The branch of that name, with the authors' weights, all of which must be used."""
    state = prefixed(f"{name}_branch.", floats(data["state_dict"]))
    part = named_part("head", head)
    translation = translate_efficient(state, part.state_dict())
    assert translation.unknown == []
    branch = getattr(head, f"{name}_branch")
    assert set(translation.state) == {f"head.{name}_branch.{key}" for key in branch.state_dict()}
    part.load_state_dict(translation.state, strict=False)
    return branch


@torch.no_grad()
def test_every_stage_agrees(reference):
    data, head = reference
    maps = loaded(data, head, "segmentation").encoder(turned(data["x"].float()))
    for ours, theirs in zip(maps, data["hidden_states"], strict=True):
        assert relative_error(turned(ours.permute(0, 3, 1, 2)), theirs) < 1e-5


@torch.no_grad()
def test_logits_agree_as_classes_and_as_flow(reference):
    data, head = reference
    for name, back in (("segmentation", turned), ("flow", turned_flow)):
        loaded(data, head, name)
        ours = getattr(head(turned(data["x"].float())), name)
        theirs = data["logits"].unflatten(1, (data["meta"]["config"]["out_frames"], -1))
        assert relative_error(back(ours), theirs) < 1e-5
