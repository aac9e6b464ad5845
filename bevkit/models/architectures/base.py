"""What all architectures are to mmengine, to a stream and to a vehicle."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from bevkit.models.architectures.preprocessor import BEVPreprocessor
from bevkit.registry import MODELS
from bevkit.structures import BEVBatch, BEVGrid, CameraRig, EgoMotion, TemporalState

Plan = tuple[Tensor, ...]


class StepOutput(NamedTuple):
    """What one instant of a stream gives.

    Attributes:
        raw: head outputs.
        newest: [B 1 C Y X] of the present, to be kept with the past for the next instants (`Architecture.kept_with`).
        memory: [B M Y X] to hand in at the next instant, of a recurrent fusion; M may be 0.
    """

    raw: tuple[Tensor, ...]
    newest: Tensor
    memory: Tensor


class Streams(Protocol):
    """Who remembers the past of streams from one batch to the next; not a model."""

    def before(self, batch: BEVBatch) -> tuple[TemporalState | None, Tensor | None]:
        """Returns the state that the clips of a batch go on from, and which of them begin a scene [B]."""

    def keep(self, batch: BEVBatch, state: TemporalState) -> None:
        """Keeps the state after a batch, without its gradients."""


class Architecture(BaseModel, ABC):
    """From images to results, in clips or in streams.

    Attributes:
        grid: the ground it tells of.
        past: S, number of past instants of which an instant keeps maps.
        memory: M, channels of what a recurrent fusion keeps; 0 without one.
        instants: R, number of past instants whose poses an instant reads.
        newest_first: whether the newest of the past is the first in its order, or the last.
    """

    grid: BEVGrid
    past: int
    memory: int
    instants: int
    head: Any
    newest_first = False

    def __init__(self, data_preprocessor: dict[str, Any] | None = None) -> None:
        super().__init__(data_preprocessor=MODELS.build(data_preprocessor) if data_preprocessor else BEVPreprocessor())

    # ---- calibration: no weights -------------------------------------------------------------------------------

    @abstractmethod
    def view_plan(self, rig: CameraRig, global_from_ego: Tensor) -> Plan:
        """Plans what the cameras of M rigs (leading axis [M]) see, with their poses [M 4 4]."""

    @abstractmethod
    def temporal_plan(self, motion: EgoMotion) -> Plan:
        """Plans all that reads the past, over R past instants and the present; named."""

    # ---- weights: no calibration -------------------------------------------------------------------------------

    @abstractmethod
    def step(self, images: Tensor, view_plan: Plan, past: Tensor, memory: Tensor, temporal_plan: Plan) -> StepOutput:
        """Runs one instant: images [B N 3 h w], what was kept, the plans. This is what is exported."""

    @abstractmethod
    def look(self, batch: BEVBatch) -> Any:
        """Runs a batch of clips, whose images are normalised, as far as training and testing go together."""

    @abstractmethod
    def look_on(self, batch: BEVBatch, state: TemporalState | None, fresh: Tensor | None) -> tuple[Any, TemporalState]:
        """Does what `look` does for one instant of B streams; returns the state after it."""

    @abstractmethod
    def raw_of(self, seen: Any) -> tuple[Tensor, ...]:
        """Returns the raw outputs of what was seen."""

    @abstractmethod
    def losses_of(self, seen: Any, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compares what was seen with the truth."""

    @abstractmethod
    def empty_state(self, batch: BEVBatch) -> TemporalState:
        """Returns a past of zeros for the streams of a batch of single frames; a scene's first instant wants one."""

    def motion_of(self, batch: BEVBatch, state: TemporalState, fresh: Tensor) -> EgoMotion:
        """Returns the motion over what a state remembers and one more instant (clips of one frame)."""
        return state.motion(batch.global_from_ego[:, 0], batch.timestamps[:, 0], fresh)

    def exportable(self) -> Architecture:
        """Returns a twin in evaluation mode that shares the weights and computes with standard operators.

        It has no auxiliaries: the exporter would write their buffers into the graph, which nothing reads.
        """
        twin = copy.copy(self.eval())
        twin._modules = {name: part for name, part in self._modules.items() if name != "auxiliaries"}
        return twin

    def exported_raw(self, raw: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Returns of raw outputs what an exported graph returns: all of them, or what the head's ``exported`` makes."""
        reduced: tuple[Tensor, ...] = self.head.exported(raw) if hasattr(self.head, "exported") else raw
        return reduced

    def given(self, seen: Any, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> Any:
        """Returns what `look_on` saw, with the features of an exported graph in place of its own, for a comparison.

        By default nothing is exchanged: only outputs that leap with their features have to be compared on the same.

        Args: inputs and outputs of the graph, by name.
        """
        return seen

    def exported_past(self, past: Tensor) -> Tensor:
        """Returns what was kept [B S ..] as `step` takes it."""
        return past

    def newest_of(self, past: Tensor) -> Tensor:
        """Returns what was kept last [B 1 ..] of all that is kept [B S ..]."""
        return past[:, :1] if self.newest_first else past[:, -1:]

    def kept_with(self, past: Tensor, newest: Tensor, fresh: bool) -> Tensor:
        """Puts the newest [B 1 ..] in place of the oldest of the past [B S ..]; where a scene begins, of all."""
        if fresh:
            return newest.expand_as(past)
        return torch.cat((newest, past[:, :-1]) if self.newest_first else (past[:, 1:], newest), dim=1)

    # ---- clips and streams -------------------------------------------------------------------------------------

    def stream(self, batch: BEVBatch, state: TemporalState | None, fresh: Tensor | None = None
               ) -> tuple[tuple[Tensor, ...], TemporalState]:
        """Runs one instant (clips of one frame) of B streams.

        Args:
            batch: images normalised.
            state: what the last instant returned; None means that every stream begins a scene.
            fresh: [B] bool, streams that begin a scene while others go on.

        At the beginning of a scene the present stands in for the missing past, as if the ego had been at rest.
        """
        seen, state = self.look_on(batch, state, fresh)
        return self.raw_of(seen), state

    def forward(self, batch: BEVBatch, mode: str = "tensor", streams: Streams | None = None) -> Any:
        """Follows mmengine: ``loss`` gives a dict of losses, ``predict`` a list of results, ``tensor`` raw outputs.

        With ``streams`` the batch is one instant of several scenes, whose past the streams hand in and keep.
        """
        if mode not in ("loss", "predict", "tensor"):
            raise ValueError(f"mode: expected loss, predict or tensor, got {mode!r}")
        if streams is None:
            seen = self.look(batch)
        else:
            seen, state = self.look_on(batch, *streams.before(batch))
            streams.keep(batch, state)
        if mode == "loss":
            if not batch.targets:
                raise ValueError("batch: expected targets for the loss, got none; give the data set a target_coder")
            return self.losses_of(seen, batch.targets)
        raw = self.raw_of(seen)
        return self.head.predict(raw) if mode == "predict" else raw

    @torch.no_grad()
    def predict(self, batch: BEVBatch) -> list[Any]:
        """Preprocesses a batch as loaded and returns one result a clip."""
        results: list[Any] = self(**self.data_preprocessor({"batch": batch}), mode="predict")
        return results


@contextmanager
def as_history(parts: Sequence[nn.Module], history: bool) -> Iterator[None]:
    """Runs what is within for past frames of a training clip: no gradients, no dropout, batch norms at rest."""
    parts = [part for part in parts if history and part.training]
    for part in parts:
        part.eval()
    try:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not history):
            yield
    finally:
        for part in parts:
            part.train()


def single(plan: Plan) -> Plan:
    """Returns a plan in the precision of the weights: calibration and poses are thought through in float64."""
    values = [tensor.float() if tensor.is_floating_point() else tensor for tensor in plan]
    return type(plan)(*values) if hasattr(plan, "_fields") else tuple(values)


def fields_of(plan: Plan) -> tuple[str, ...]:
    """Names the tensors of a plan: by the fields of a named tuple, else by their position."""
    return getattr(plan, "_fields", None) or tuple(f"part_{index}" for index in range(len(plan)))
