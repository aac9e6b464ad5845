"""`bevkit import-checkpoint`: the three files it writes work together."""

import json
from pathlib import Path

import pytest
import torch

from bevkit.cli.import_checkpoint import CONFIGS, config_text, default_config
from bevkit.cli.main import main
from bevkit.engine.build import load_model
from bevkit.engine.config import load_config
from bevkit.importers import IMPORTERS


@pytest.fixture
def released(golden, tmp_path: Path) -> Path:
    """A file with the names and shapes of the authors' full-size weights."""
    path = tmp_path / "powerbev.ckpt"
    shapes = golden("instance/keys_powerbev_long.json")["keys"]
    state = {f"model.{name}": torch.full(shape, 0.5) if shape else torch.tensor(1) for name, shape in shapes.items()}
    torch.save({"state_dict": state, "epoch": 19}, path)
    return path


def test_weights_config_and_report_fit_together(released: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "imported" / "powerbev"
    assert main(["import-checkpoint", str(released), "--system", "powerbev", "--out", f"{out}.pth"]) == 0, \
        capsys.readouterr().err
    assert sorted(path.name for path in out.parent.iterdir()) == ["powerbev.json", "powerbev.pth", "powerbev.py"]
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["complete"] and len(report["dropped"]) == 4 and report["options"]
    cfg = load_config(out.with_suffix(".py"))
    for name, value in report["options"].items():
        section = cfg.test_dataloader.dataset if name.startswith("images.") else cfg.model
        for word in name.split("."):
            section = section[word]
        assert section == value
    model = load_model(cfg, out.with_suffix(".pth"))
    assert float(model.view_transformer.depth_net.bias[0].detach()) == 0.5
    assert tuple(model.grid.x) == (-50.0, 50.0, 0.5)  # the file's grid of 0.5 everywhere changed nothing


def test_weights_of_another_model_are_refused(released: Path, tmp_path: Path, capsys) -> None:
    state = torch.load(released, weights_only=True)["state_dict"]
    encoder = {name: value for name, value in state.items() if "encoder.backbone" in name}
    torch.save(encoder, tmp_path / "encoder.pth")
    call = ["import-checkpoint", str(tmp_path / "encoder.pth"), "--system", "powerbev", "--out", str(tmp_path / "part")]
    assert main(call) == 2
    assert "name the config of these weights with --config, or accept it with --partial" in capsys.readouterr().err
    assert not (tmp_path / "part.pth").exists()
    assert main([*call, "--partial"]) == 0 and (tmp_path / "part.pth").exists()


def test_every_importer_can_be_called_and_has_a_config() -> None:
    assert set(CONFIGS) == set(IMPORTERS)
    for system in CONFIGS:
        load_config(default_config(system))


def test_a_missing_file_is_one_sentence(tmp_path: Path, capsys) -> None:
    assert main(["import-checkpoint", str(tmp_path / "no.ckpt"), "--system", "powerbev", "--out", "x"]) == 2
    assert "no.ckpt is no file" in capsys.readouterr().err


def test_options_become_nested_dicts(tmp_path: Path) -> None:
    text = config_text(tmp_path / "configs" / "a.py", tmp_path / "out" / "b", "powerbev", "x.ckpt",
                       {"temporal.warp": "fiery", "level_ego": True, "temporal.motion": 1})
    space: dict = {}
    exec(text, space)
    assert space["_base_"] == ["../configs/a.py"]
    assert space["model"] == {"temporal": {"warp": "fiery", "motion": 1}, "level_ego": True}
