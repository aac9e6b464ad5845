"""Every entry of the authors' full-size checkpoints finds its place, and nothing of the model stays without."""

import math

import pytest
import torch

from bevkit.importers import import_checkpoint
from bevkit.importers.powerbev import translate_powerbev
from bevkit.models.architectures import DenseBEV
from tests.parity.powerbev import dense_config, prefixed

GEOMETRY = {"frustum", "bev_resolution", "bev_start_position", "bev_dimension"}


@pytest.fixture(scope="module", params=["long", "static"])
def full_size(golden, request) -> tuple[dict, DenseBEV, dict]:
    """Key list, model without memory behind it, and a checkpoint of the listed shapes, likewise."""
    listed = golden(f"instance/keys_powerbev_{request.param}.json")
    with torch.device("meta"):
        model = DenseBEV(**dense_config(listed["meta"]["config"], static=request.param == "static"))
        state = {key: torch.empty(shape) for key, shape in listed["keys"].items()}
    return listed, model, state


@pytest.mark.parametrize("lightning", [True, False])
def test_every_key_is_used(full_size, lightning):
    _, model, state = full_size
    wanted = model.state_dict()
    weights = [key for key in wanted if key.endswith("log_variance")]
    if lightning:
        state = state | {key.split(".")[1]: torch.empty((), device="meta") for key in weights}
        state = prefixed("model.", state)
    translation = translate_powerbev(state, wanted)

    assert translation.unknown == []
    assert {key.removeprefix("model.") for key in translation.dropped} == GEOMETRY
    assert set(wanted) - set(translation.state) == (set() if lightning else set(weights))
    assert set(translation.optional) >= set(weights)
    for key, value in translation.state.items():
        assert value.shape == wanted[key].shape, key
    assert len(set(translation.state)) == len(state) - len(GEOMETRY)  # no two entries share a place


def test_parameters_are_the_published_ones(full_size):
    listed, model, _ = full_size
    counted = sum(parameter.numel() for key, parameter in model.named_parameters() if not key.endswith("log_variance"))
    geometry = sum(math.prod(listed["keys"][key]) for key in GEOMETRY)
    assert geometry == listed["n_params_frozen_geometry"]
    assert counted == listed["n_params_total"] - geometry


@pytest.fixture(scope="module")
def small(golden):
    """A small network and the authors' weights of its size, as a plain state_dict."""
    data = golden("instance/pb_full_b0.pt")
    return DenseBEV(**dense_config(data["meta"]["config"])), data["state_dict"]


def test_lightning_file_with_foreign_objects_is_read(small, tmp_path):
    """Lightning keeps its own objects beside the weights; they are stepped over, not made."""
    import argparse
    from types import SimpleNamespace

    model, state = small
    counters = {"model.encoder.total_ops": torch.zeros(1), "model.total_params": torch.zeros(1)}  # of a profiler
    torch.save({"state_dict": prefixed("model.", state) | {"model.segmentation_weight": torch.tensor(0.3)} | counters,
                "hyper_parameters": argparse.Namespace(lr=0.1, more=SimpleNamespace(batch=2)), "epoch": 19},
               tmp_path / "lightning.ckpt")
    report = import_checkpoint(tmp_path / "lightning.ckpt", "powerbev", model)
    assert report.complete and report.kept == ["head.flow_weight.log_variance"]
    assert report.unmet == {"level_ego": (False, True)}
    assert model.head.segmentation_weight.log_variance.item() == pytest.approx(0.3)


def test_report_names_what_did_not_fit(small, tmp_path):
    model, state = small
    grid = model.grid
    state = dict(state)
    missing = "encoder.depth_layer.bias"
    misfit = "encoder.depth_layer.weight"
    state["something.else"] = torch.zeros(1)
    state[misfit] = torch.zeros(3, 3, 1, 1)
    del state[missing]
    torch.save(state, tmp_path / "plain.pt")
    report = import_checkpoint(tmp_path / "plain.pt", "powerbev", model)
    assert not report.complete
    assert report.unused == ["something.else"]
    assert report.missing == ["view_transformer.depth_net.bias"]
    assert list(report.mismatched) == ["view_transformer.depth_net.weight"]
    assert set(report.dropped) == GEOMETRY and model.grid == grid
    for name in ("something.else", "view_transformer.depth_net.bias", "bev_dimension", "temporal.warp"):
        assert name in str(report) and name in report.to_json()


class Bomb:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize(("content", "words"), [
    ({"state_dict": {}, "extra": Bomb()}, "could run code"),
    ({"epoch": 3}, "holds no weights"),
    ({"foreign.weight": torch.zeros(1)}, "no entry"),
])
def test_foreign_files_are_refused(small, tmp_path, capsys, content, words):
    model, _ = small
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match=words):
        import_checkpoint(tmp_path / "file.pt", "powerbev", model)
    assert "executed" not in capsys.readouterr().out


def test_broken_and_absent_files_are_named(small, tmp_path):
    model, _ = small
    (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="broken.pt"):
        import_checkpoint(tmp_path / "broken.pt", "powerbev", model)
    with pytest.raises(FileNotFoundError, match="absent.pt"):
        import_checkpoint(tmp_path / "absent.pt", "powerbev", model)
    with pytest.raises(ValueError, match="powerbev"):
        import_checkpoint(tmp_path / "broken.pt", "powerbird", model)
