"""Streamed tests: scenes run side by side, each with its own past, and score as they do one by one."""

import json
from types import SimpleNamespace

import pytest
import torch

from bevkit.engine.build import build_dataset, evaluate, load_model
from bevkit.engine.config import load_config
from bevkit.engine.streaming import SceneBatches, Streams, side_by_side, use_streams
from bevkit.structures.frame import collate_clips
from tests.conftest import ROOT
from tests.engine.test_training import torchrun

CONFIG = str(ROOT / "configs" / "tiny" / "videobev.py")
ALL = "test_dataloader.dataset.split=None"


@pytest.fixture
def dataset(tiny_overrides):
    config = load_config(CONFIG, [*tiny_overrides, ALL])
    use_streams(config, 1)
    return build_dataset(config, "test")


def test_places_are_taken_over_and_every_clip_comes_once():
    scenes = [[0, 1, 2], [3], [4, 5], [6, 7, 8, 9]]
    batches = list(side_by_side(scenes, 2))
    assert batches == [[0, 3], [1, 4], [2, 5], [6], [7], [8], [9]]
    assert sorted(sum(side_by_side(scenes, 3), [])) == list(range(10)) and list(side_by_side([], 2)) == []


def test_clips_with_a_past_of_their_own_are_refused(tiny_overrides):
    dataset = build_dataset(load_config(CONFIG, tiny_overrides), "test")
    with pytest.raises(ValueError, match="past=1"):
        SceneBatches(order_of(dataset), 1)


def order_of(dataset):
    """Stands in for the sampler that mmengine hands over."""
    return SimpleNamespace(dataset=dataset)


def streamed(model, dataset, places: int) -> dict[int, torch.Tensor]:
    """The heat map of every clip, by its number."""
    found, streams = {}, Streams()
    raw = []
    model.head.predict = lambda output: raw.append(output.heatmap) or [None] * len(output.heatmap)
    for batch in SceneBatches(order_of(dataset), places):
        with torch.no_grad():
            streams.predict(model, collate_clips([dataset[index] for index in batch])["batch"])
        found.update(zip(batch, raw.pop()))
    return found


def test_scenes_side_by_side_are_scenes_one_by_one(dataset, tiny_overrides):
    torch.manual_seed(0)
    model = load_model(load_config(CONFIG, tiny_overrides))
    alone, together = streamed(model, dataset, 1), streamed(model, dataset, 2)
    assert alone.keys() == together.keys() == set(range(len(dataset)))
    for index, heatmap in alone.items():
        torch.testing.assert_close(together[index], heatmap, rtol=1e-4, atol=1e-5)


def test_a_stream_is_the_clip_of_all_it_has_seen(dataset, tiny_overrides):
    torch.manual_seed(0)
    model = load_model(load_config(CONFIG, tiny_overrides))
    whole = build_dataset(load_config(CONFIG, [*tiny_overrides, "test_dataloader.dataset.past=5",
                                               "test_dataloader.dataset.at_scene_start=skip",
                                               "test_dataloader.dataset.split=None"]), "test")
    clip = collate_clips([whole[0]])["batch"]
    with torch.no_grad():
        expected, _ = model.run_clip(model.data_preprocessor({"batch": clip})["batch"])
    token = clip.meta[0][4]["sample_token"]
    found = streamed(model, dataset, 1)
    index = next(index for index in range(len(dataset)) if dataset[index].present.meta["sample_token"] == token)
    torch.testing.assert_close(found[index], expected.heatmap[0], rtol=1e-4, atol=1e-5)


def test_two_processes_stream_as_one(tmp_path, tiny_overrides):
    torch.manual_seed(0)
    config = load_config(CONFIG, tiny_overrides)
    model = load_model(config)
    torch.save({"state_dict": model.state_dict(), "meta": {}}, tmp_path / "random.pth")
    config = load_config(CONFIG, [*tiny_overrides, ALL])
    use_streams(config, 1)  # one scene at a time on both sides: larger batches round otherwise
    alone = evaluate(config, tmp_path / "random.pth", tmp_path / "alone")
    torchrun("test", CONFIG, str(tmp_path / "random.pth"), "--work-dir", str(tmp_path / "two"), "--json",
             str(tmp_path / "two.json"), "--stream", "--set", *tiny_overrides, ALL)
    assert json.loads((tmp_path / "two.json").read_text())["scores"] == pytest.approx(alone)
