"""Every entry of a published FipTR finds its place in the published config, and none of the model is left without."""

import torch

from bevkit.engine.build import build_model
from bevkit.engine.config import load_config
from bevkit.importers.fiptr import translate_fiptr
from tests.conftest import ROOT


def test_every_key_is_used(golden):
    listed = golden("instance/keys_fiptr_tiny.json")
    with torch.device("meta"):
        model = build_model(load_config(str(ROOT / "configs" / "prediction" / "fiptr_lss.py")))
        state = {name: torch.empty(shape) for name, shape in listed["keys"].items()}
    translation, wanted = translate_fiptr(state, model.state_dict()), model.state_dict()
    assert translation.unknown == [] and set(translation.state) == set(wanted)
    assert all(value.shape == wanted[name].shape for name, value in translation.state.items())
    assert len(translation.state) + len(translation.dropped) == len(state)
