"""What the documents show runs as it stands there, and what they point to exists."""

import re
from pathlib import Path

import pytest
import torch

from bevkit.engine.build import build_model
from bevkit.engine.config import load_config
from bevkit.models.view_transformers import ViewTransformer
from tests.laws.space import random_rig

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "data" / "README.md"])


def code_blocks(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), flags=re.M | re.S)


def test_the_view_transformer_of_the_guide_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, config, test = code_blocks(ROOT / "docs" / "adding_a_view_transformer.md")
    (tmp_path / "ground_sampling.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    space: dict = {}
    exec(compile(test, "the guide's test", "exec"), space)
    space["test_the_ground_arrives_where_it_is"]()

    (tmp_path / "config.py").write_text(config.replace('"configs/', f'"{ROOT.as_posix()}/configs/'))
    model = build_model(load_config(tmp_path / "config.py"))
    part: ViewTransformer = model.view_transformer
    assert type(part).__name__ == "GroundSampling"
    for cameras in (1, 6):
        rig = random_rig(0, cameras).float()
        rig = type(rig).stack([rig, rig])  # M = 2
        features = torch.randn(2 * cameras, model.image_encoder.channels[0], 8, 12, requires_grad=True)
        view = part((features,), *part.plan(rig))
        assert view.bev.shape == (2, part.channels, *model.grid.shape) and view.depth is None
        view.bev.square().sum().backward()
        assert features.grad.isfinite().all() and features.grad.any()


def test_the_python_of_the_readme_is_python() -> None:
    blocks = code_blocks(ROOT / "README.md")
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
    rig = next(block for block in blocks if "CameraRig(" in block)
    exec(rig, {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_inside_the_house_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (document.parent / target).exists()]
    assert not missing
