"""Streams: training goes on where the step before ended; tests score side by side as one by one."""

import json
from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bevkit.engine.build import build_dataset, build_model, build_runner, evaluate, load_model
from bevkit.engine.checkpoint import latest_checkpoint, read_checkpoint
from bevkit.engine.config import load_config
from bevkit.engine.streaming import SceneBatches, Streams, StreamTrainLoop, side_by_side, use_streams
from bevkit.geometry import rigid
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


class Order(SimpleNamespace):
    """Stands in for a sampler that shuffles."""

    shuffle, seed, epoch = True, 3, 0


def test_training_batches_are_full_and_go_on_in_their_scenes(dataset):
    scenes = dataset.clip_scenes()
    order = Order(dataset=dataset)
    batches = SceneBatches(order, 2)
    epochs = []
    for order.epoch in range(4):
        epochs.append(list(batches))
        assert len(epochs[-1]) == len(batches) == len(dataset) // 2
        assert all(len(batch) == 2 for batch in epochs[-1])
        for before, after in pairwise(epochs[-1]):
            for one, other in zip(before, after):  # the next clip of a scene, or the first of another
                assert other == one + 1 or other == np.flatnonzero(scenes == scenes[other])[0]
    assert len({tuple(epoch[0]) for epoch in epochs}) > 1
    batches.start = 3
    assert list(batches) == epochs[-1][3:] and list(batches) == epochs[-1]
    with pytest.raises(ValueError, match="lower the batch size"):
        SceneBatches(order, 99)


def test_clips_of_a_scene_are_augmented_alike(tiny_overrides):
    config = load_config(CONFIG, [*tiny_overrides, "train_dataloader.dataset.split=None"])
    use_streams(config, 1, "train")
    dataset = build_dataset(config, "train")
    plain = build_dataset(load_config(CONFIG, [*tiny_overrides, "train_dataloader.dataset.split=None",
                                               "train_dataloader.dataset.pipeline=[]",
                                               "train_dataloader.dataset.past=1"]), "train")

    def jitter(index: int) -> torch.Tensor:
        moved = rigid.inverse(dataset[index].present.global_from_ego) @ plain[index].present.global_from_ego
        return moved, dataset[index].present.rig.image_aug

    scenes = dataset.clip_scenes()
    same, other = np.flatnonzero(scenes == scenes[0])[1], np.flatnonzero(scenes != scenes[0])[0]
    for ours, theirs, strangers in zip(jitter(0), jitter(int(same)), jitter(int(other))):
        torch.testing.assert_close(ours, theirs)
        assert not torch.allclose(ours, strangers)


@pytest.mark.parametrize("name", ["videobev", "bevformer"])
def test_a_training_step_goes_on_from_the_step_before(name, tiny_overrides):
    config = load_config(str(ROOT / "configs" / "tiny" / f"{name}.py"),
                         [*tiny_overrides, "train_dataloader.dataset.split=None"])
    use_streams(config, 2, "train")
    dataset = build_dataset(config, "train")
    torch.manual_seed(0)
    model, streams = build_model(config).eval(), Streams()  # norms at rest: two runs are the same
    clips = [collate_clips([dataset[index] for index in batch])
             for batch in islice(SceneBatches(Order(dataset=dataset), 2), 3)]

    def total(data, streams):
        losses = model(**model.data_preprocessor({**data, "streams": streams}), mode="loss")
        return sum(value for key, value in losses.items() if "loss" in key)

    losses = [total(data, streams) for data in clips]
    losses[-1].backward()
    assert not streams.state.bev.requires_grad and not streams.state.memory.requires_grad
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
    assert any((weight.grad != 0).any() for weight in model.image_encoder.parameters() if weight.grad is not None)
    torch.testing.assert_close(total(clips[0], Streams()), losses[0])  # a scene begins
    assert not torch.allclose(total(clips[2], Streams()), losses[2], rtol=1e-5)  # and goes on


def test_a_killed_stream_training_goes_on_at_its_batch(tmp_path, tiny_overrides, monkeypatch):
    seen = []
    original = StreamTrainLoop.run_iter

    def run_iter(self, index, data):
        if len(seen) == kill_at:
            raise KeyboardInterrupt
        seen.append([row[0]["sample_token"] for row in data["batch"].meta])
        original(self, index, data)

    monkeypatch.setattr(StreamTrainLoop, "run_iter", run_iter)
    options = [*tiny_overrides, "train_cfg.max_epochs=1", "train_cfg.val_interval=9",
               "default_hooks.checkpoint.interval=2", "randomness.seed=0", "train_dataloader.dataset.split=None"]

    def train(folder, resume=False):
        config = load_config(CONFIG, [*options, f"train_dataloader.num_workers={2 * resume}"])
        use_streams(config, 2, "train")
        build_runner(config, tmp_path / folder, resume=resume).train()

    kill_at = None
    train("whole")
    whole = list(seen)
    seen.clear()
    kill_at = 4
    with pytest.raises(KeyboardInterrupt):
        train("killed")
    kill_at = None
    train("killed", resume=True)
    assert len(whole) > 4 and seen == whole


def test_two_processes_train_on_streams(tmp_path, tiny_overrides):
    torchrun("train", CONFIG, "--work-dir", str(tmp_path), "--stream", "1", "--set", *tiny_overrides,
             "train_cfg.max_epochs=1", "train_cfg.val_interval=9", "default_hooks.checkpoint.interval=1",
             "train_dataloader.dataset.split=None")
    config = load_config(CONFIG, [*tiny_overrides, "train_dataloader.dataset.split=None"])
    use_streams(config, 1, "train")
    assert read_checkpoint(latest_checkpoint(tmp_path))["meta"]["iter"] == len(build_dataset(config, "train")) // 2


def streamed(model, dataset, places: int) -> dict[int, torch.Tensor]:
    """The heat map of every clip, by its number."""
    found, streams = {}, Streams()
    raw = []
    model.head.predict = lambda output: raw.append(output.heatmap) or [None] * len(output.heatmap)
    for batch in SceneBatches(order_of(dataset), places):
        with torch.no_grad():
            data = collate_clips([dataset[index] for index in batch])
            model(**model.data_preprocessor({**data, "streams": streams}), mode="predict")
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
