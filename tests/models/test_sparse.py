"""The sparse road: it learns, streams as it sees clips, and its queries do not peek."""

from dataclasses import replace

import pytest
import torch

from bevkit.engine.build import build_dataset, build_model
from bevkit.engine.config import load_config
from bevkit.export.graph import instants_of
from bevkit.models.heads.sparse import hidden_from_one_another, noisy_truth
from bevkit.structures import Detections3D, collate_clips
from tests.conftest import ROOT

CONFIG = str(ROOT / "configs" / "tiny" / "sparsebev.py")


@pytest.fixture(scope="module")
def batch(tiny_overrides):
    dataset = build_dataset(load_config(CONFIG, tiny_overrides), "train")
    return collate_clips([dataset[3], dataset[len(dataset) - 1]])


def model_for(batch, *options: str):
    torch.manual_seed(0)
    model = build_model(load_config(CONFIG, [*options]))
    return model, model.data_preprocessor(batch)["batch"]


def total_of(losses: dict) -> torch.Tensor:
    return sum(value for name, value in losses.items() if "loss" in name)


def test_it_learns(batch):
    model, clips = model_for(batch, "model.frames_in_graph=1")
    optimiser, first = torch.optim.AdamW(model.parameters(), 2e-3), None
    for _ in range(12):
        torch.manual_seed(1)  # the same noise
        losses = model(clips, mode="loss")
        first = first or total_of(losses).item()
        optimiser.zero_grad()
        total_of(losses).backward()
        optimiser.step()
    assert {"loss_class", "layer0.loss_box", "denoise.loss_class", "denoise.layer0.loss_box"} <= set(losses)
    assert all(weight.isfinite().all() for weight in model.parameters()) and total_of(losses).item() < 0.8 * first
    for name in ("image_encoder.backbone", "head.layer.sampling.offsets", "head.labels", "head.boxes"):
        gradients = [weight.grad for key, weight in model.named_parameters() if key.startswith(name)]
        assert any(grad is not None and (grad != 0).any() for grad in gradients), name


@torch.no_grad()
def test_it_streams_as_it_sees_clips(batch):
    model, clips = model_for(batch)
    model.eval()
    expected, state = model(clips, mode="tensor"), None
    for instant in instants_of(clips):
        raw, state = model.stream(instant, state)
    for ours, theirs in zip(raw, expected):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert state.bev.shape[:2] == (2, model.past)
    mixed, _ = model.stream(next(instants_of(clips)), state, fresh=torch.tensor([True, False]))
    begun, _ = model.stream(next(instants_of(clips)), None)
    gone_on, _ = model.stream(next(instants_of(clips)), state)
    for ours, new, old in zip(mixed, begun, gone_on):
        torch.testing.assert_close(ours, torch.stack((new[:, 0], old[:, 1]), dim=1), rtol=1e-4, atol=1e-4)
    assert all(isinstance(result, Detections3D) for result in model(clips, mode="predict"))


@torch.no_grad()
def test_a_scene_begins_as_a_clip_of_one_frame_repeated(batch):
    model, clips = model_for(batch)
    model.eval()
    first = next(instants_of(clips))
    frames = [0] * clips.past
    still = replace(clips, images=clips.images[:, frames], rig=clips.rig[:, frames],
                    global_from_ego=clips.global_from_ego[:, frames], timestamps=clips.timestamps[:, frames])
    for ours, theirs in zip(model.stream(first, None)[0], model(still, mode="tensor")):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_frames_ahead_tell_of_the_present(batch, tiny_overrides):
    """A future frame is a past one, but for the sign of its age."""
    options = ["model.head.frames=3", "model.ahead=1"]
    ahead = {f"train_dataloader.dataset.{name}={value}" for name, value in dict(past=2, future=1, ahead=1).items()}
    dataset = build_dataset(load_config(CONFIG, [*tiny_overrides, *options, *ahead]), "train")
    model, clips = model_for(collate_clips([dataset[0], dataset[5]]), *options)
    views = model.look(clips)
    seconds = clips.timestamps[:, 1:2] - clips.timestamps[:, [1, 0, 2]]
    torch.testing.assert_close(views.ages, seconds.float())
    assert (views.ages[:, 2] < 0).all()
    total_of(model(clips, mode="loss")).backward()
    with torch.no_grad():
        # The same three frames, seen from the last one: all cameras see the same ground.
        plain, _ = model_for(batch)
        plain.load_state_dict(model.state_dict())
        past = plain.look(replace(clips, ahead=0))
    now = clips.global_from_ego
    points = torch.tensor([12.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    then = torch.linalg.inv(now[:, 2]) @ now[:, 1] @ points
    for ours, theirs in ((0, 1), (1, 2), (2, 0)):
        torch.testing.assert_close(views.projection[:, ours].double() @ points,
                                   torch.einsum("bnij,bj->bni", past.projection[:, theirs].double(), then),
                                   rtol=1e-4, atol=1e-3)
    for refused in (lambda: model.stream(next(instants_of(clips)), None), model.exportable):
        with pytest.raises(ValueError, match="no frames ahead"):
            refused()
    with pytest.raises(ValueError, match="1 ahead"):
        model.look(clips.__class__(**{**vars(clips), "ahead": 0}))


def test_layers_computed_anew_learn_alike(batch):
    gradients = []
    for checkpointing in (False, True):
        model, clips = model_for(batch, f"model.head.checkpointing={checkpointing}")
        torch.manual_seed(1)
        total_of(model(clips, mode="loss")).backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_hints_are_noisy_truth_and_nobody_peeks():
    boxes = torch.rand(2, 6, 9) + 0.5
    labels = torch.tensor([[3, -1, 4, 5, -1, -1], [1, -1, -1, -1, -1, -1]])
    boxes[0, 0, 7:] = torch.nan
    bounds = torch.tensor([[-50.0, 50.0], [-50.0, 50.0], [-5.0, 3.0]])
    hints = noisy_truth(dict(boxes=boxes, labels=labels), bounds, groups=4, classes=10)
    assert hints.boxes.shape == (2, 12, 10) and hints.boxes.isfinite().all()
    assert hints.wanted_labels[0].tolist() == [3, 4, 5] * 4 and hints.wanted_labels[1].tolist() == [1, -1, -1] * 4
    assert hints.real.sum() == 16
    metres = hints.boxes[0, :3, :3] * (bounds[:, 1] - bounds[:, 0]) + bounds[:, 0]
    truth = boxes[0, [0, 2, 3]]
    assert ((metres - truth[:, :3]).abs() <= 0.25 * truth[:, 3:6] + 1e-4).all()
    blocked = hidden_from_one_another(hints.real, 5, 4)
    assert blocked.shape == (2, 1, 17, 17)
    first, second = blocked[:, 0]
    assert first[12:, :12].all() and not first[:, 12:].any()  # queries do not see hints, all see queries
    assert not first[3:6, 3:6].any() and first[3:6, :3].all() and first[3:6, 6:12].all()
    assert second[0, 1:3].all() and not second[0, 0]  # room is not seen, but by itself
    assert not second.diagonal().any()
    none = noisy_truth(dict(boxes=boxes, labels=torch.full_like(labels, -1)), bounds, groups=4, classes=10)
    assert none.boxes.shape == (2, 0, 10) and hidden_from_one_another(none.real, 5, 4).shape == (2, 1, 5, 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_learns_alike(batch, dtype):
    model, clips = model_for(batch, "model.head.denoising=0")
    exact = total_of(model(clips, mode="loss")).item()
    with torch.autocast("cpu", dtype):
        total = total_of(model(clips, mode="loss"))
    total.backward()
    assert total.item() == pytest.approx(exact, rel=0.05)
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.head.parameters())


def test_past_frames_leave_the_norms_at_rest(batch):
    model, clips = model_for(batch, "model.frames_in_graph=1")
    model(clips, mode="loss")
    counts = {int(value) for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts == {1} and model.image_encoder.training


def test_truth_out_of_reach_is_not_learned(tiny_overrides):
    dataset = build_dataset(load_config(CONFIG, [*tiny_overrides, "model.head.bounds=(-9.0,-9.0,-5.0,9.0,9.0,3.0)"]),
                            "train")
    assert dataset.target_coder.grid.x[:2] == (-9.0, 9.0)
