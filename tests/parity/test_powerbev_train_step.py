"""One optimisation step of the prediction network: losses, gradients, batch-norm statistics, clipping, Adam.

A leaky ReLU whose input is within rounding of zero has one of two gradients, and in a deep level of a few cells every
layer below feels that one cell. So the step is taken three times, each rounding differently: along the authors' axes,
along ours, and in double precision; every gradient must agree with the authors' in one of them.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from bevkit.importers.powerbev import translate_powerbev
from bevkit.models.losses import MaskedRegression, TopKCrossEntropy, UncertaintyWeight
from tests.parity.powerbev import floats, head_of, named_part, relative_error, turned

NORMS = {1: "l1", 1.5: "smooth_l1", 2: "squared"}
WEIGHTS = ("segmentation_weight", "flow_weight")


@dataclass
class Step:
    """What one step gave, in our names and axis order."""

    raw: tuple[Tensor, Tensor]
    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]
    gradient_norm: float
    input_gradient_norm: float
    after: dict[str, Tensor]


def in_our_names(values: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    state = {name if name in WEIGHTS else "stconv." + name: value for name, value in values.items()}
    return translate_powerbev(state, model.state_dict()).state


def build(config) -> nn.ModuleDict:
    ratio = config["top_k_ratio"] if config["use_top_k"] else 1.0
    return named_part("head", head_of(
        config, config["in_channels"],
        segmentation_loss=TopKCrossEntropy(config["class_weights"], ratio, config["future_discount"],
                                           config["ignore_index"]),
        flow_loss=MaskedRegression(NORMS[config["flow_norm"]], config["future_discount"], config["ignore_index"]),
        segmentation_weight=UncertaintyWeight(config["segmentation_factor"]),
        flow_weight=UncertaintyWeight(0.5 * config["flow_factor"])))


def take_step(data: dict, our_axes: bool, dtype: torch.dtype) -> Step:
    config = data["meta"]["config"]
    model = build(config)
    state = in_our_names(floats(data["state_dict_before"])
                         | {name: torch.tensor(config[name]) for name in WEIGHTS}, model)

    def turn(value: Tensor) -> Tensor:
        """Between our axes and those of this run, both ways; other values stay."""
        return turned(value) if value.ndim >= 4 and not our_axes else value

    model.load_state_dict({name: turn(value) for name, value in state.items()})
    model.to(dtype).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"], betas=tuple(config["betas"]),
                                 eps=config["adam_eps"], weight_decay=config["weight_decay"])
    x = turn(turned(data["x"].flatten(1, 2).to(dtype))).requires_grad_()
    targets = {"segmentation": turned(data["seg_target"].squeeze(2)).long(),
               "flow": turned(data["flow_target"].to(dtype)).flip(2)}
    raw = model["head"](x)
    raw = type(raw)(*(turn(maps) for maps in raw))
    losses = model["head"].loss(raw, targets)
    sum(losses.values()).backward()
    gradients = {name: turn(parameter.grad).clone() for name, parameter in model.named_parameters()}
    norm = nn.utils.clip_grad_norm_(model.parameters(), config["grad_clip_norm"])
    optimizer.step()
    after = {name: turn(value).float() for name, value in model.state_dict().items()}
    outputs = tuple(maps.detach().float() for maps in raw)
    return Step(outputs, losses, gradients, norm.item(), x.grad.norm().item(), after)


@pytest.fixture(scope="module")
def reference(golden):
    data = golden("instance/pb_train_step.pt")
    return data, build(data["meta"]["config"])


@pytest.fixture(scope="module")
def steps(reference):
    data, _ = reference
    return [take_step(data, *run) for run in ((False, torch.float32), (True, torch.float32), (False, torch.float64))]


def test_outputs_and_losses(reference, steps):
    data, _ = reference
    names = {"segmentation": "loss_segmentation", "segmentation_uncertainty": "loss_segmentation_uncertainty",
             "instance_flow": "loss_flow", "flow_uncertainty": "loss_flow_uncertainty"}
    for step in steps:
        segmentation, flow = step.raw
        assert relative_error(turned(segmentation), data["out_segmentation"].float()) < 1e-3  # stored as float16
        assert relative_error(turned(flow).flip(2), data["out_flow"].float()) < 1e-3
        for name, theirs in data["losses"].items():
            assert step.losses[names[name]].item() == pytest.approx(theirs.item(), rel=1e-4)
        assert sum(step.losses.values()).item() == pytest.approx(data["total"].item(), rel=1e-4)


def test_gradients(reference, steps):
    data, model = reference
    best = min(abs(step.gradient_norm / data["total_grad_norm_before_clip"].item() - 1) for step in steps)
    assert best < 1e-4
    assert min(abs(step.input_gradient_norm / data["grad_x_norm"].item() - 1) for step in steps) < 1e-4
    for name, theirs in in_our_names(data["grads"], model).items():
        assert min(relative_error(step.gradients[name], theirs) for step in steps) < 1e-4, name


def test_gradient_norms(reference, steps):
    data, model = reference
    # A norm has neither axes nor channels: as a tensor of one number the importer only renames it.
    norms = in_our_names({name: torch.as_tensor(value).reshape(1) for name, value in data["grad_norms"].items()}, model)
    assert set(norms) == set(steps[0].gradients)
    for name, theirs in norms.items():
        differences = [abs(step.gradients[name].norm().item() - theirs.item()) for step in steps]
        assert min(differences) < 1e-4 * theirs.item() + 1e-6, name


def test_running_statistics(reference, steps):
    data, model = reference
    for name, theirs in in_our_names(data["running_stats_after"], model).items():
        for step in steps:
            assert torch.allclose(step.after[name], theirs, rtol=1e-6, atol=1e-6), name


def test_parameters_after_adam(reference, steps):
    data, model = reference
    rate = data["meta"]["config"]["lr"]
    for name, theirs in in_our_names(data["params_after_adam"], model).items():
        differences = [(step.after[name] - theirs).abs() for step in steps]
        assert max(difference.max() for difference in differences) <= 2 * rate + 1e-6, name
        # Adam divides a gradient by its own size, so the sign of one that is nearly zero decides; leave those out.
        clear = [step.gradients[name].abs() > 1e-3 * step.gradients[name].abs().max() for step in steps]
        assert min(difference[mask].max() for difference, mask in zip(differences, clear, strict=True)) < 1e-6, name
