"""Reads an upstream checkpoint without running code from it and fits its weights into a bevkit model."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

# Training frameworks store their own objects beside the weights. These are read as empty stand-ins; theirs never run.
_STAND_IN_MODULES = ("pytorch_lightning", "lightning", "lightning_fabric", "yacs", "omegaconf", "argparse")
_STAND_INS = ("types.SimpleNamespace",)  # single objects; of their modules others are refused


@dataclass(frozen=True)
class Rule:
    """Says what becomes of the upstream entries whose whole name matches a pattern.

    Attributes:
        pattern: regular expression of the whole name.
        name: the bevkit name, with ``\\1`` groups; None drops the entry.
        change: what happens to the values.
        reason: why it is dropped.
    """

    pattern: str
    name: str | None
    change: Callable[[Tensor], Tensor] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Translation:
    """An upstream state_dict in bevkit's names and axis order.

    Attributes:
        state: weights by bevkit name.
        origin: upstream name of each.
        dropped: upstream entries left behind on purpose, with the reason.
        unknown: upstream entries that no rule names.
        options: config keys (dotted, below ``model``; those of ``images.`` below each data set) and the values these
            weights were trained with.
        optional: bevkit names that a checkpoint may lack, because they are read in training only.
    """

    state: dict[str, Tensor]
    origin: dict[str, str]
    dropped: dict[str, str]
    unknown: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportReport:
    """What became of every entry of a checkpoint and of the model.

    Attributes:
        used: bevkit name -> upstream name.
        dropped: upstream entries left behind on purpose, with the reason.
        unused: upstream entries that found no place.
        kept: entries of the model that the checkpoint lacks and that are read in training only; left as they were.
        missing: other entries of the model that got nothing.
        mismatched: bevkit name -> (shape of the model, shape of the checkpoint).
        options: config keys (dotted, below ``model``; ``images.`` below each data set) and the values needed.
        unmet: those of them that this model has otherwise: key -> (model, weights).
    """

    system: str
    source: str
    used: dict[str, str]
    dropped: dict[str, str]
    unused: list[str]
    kept: list[str]
    missing: list[str]
    mismatched: dict[str, tuple[list[int], list[int]]]
    options: dict[str, Any]
    unmet: dict[str, tuple[Any, Any]]

    @property
    def complete(self) -> bool:
        """True when every entry of both sides found its partner (entries dropped on purpose aside)."""
        return not (self.unused or self.missing or self.mismatched)

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "complete": self.complete}, indent=2)

    def __str__(self) -> str:
        lines = [f"{self.system}: {len(self.used)} entries of {self.source} used"]
        lines += [f"  dropped    {name}: {reason}" for name, reason in self.dropped.items()]
        lines += [f"  unused     {name}" for name in self.unused]
        lines += [f"  kept       {name}: read in training only" for name in self.kept]
        lines += [f"  missing    {name}" for name in self.missing]
        lines += [f"  mismatch   {name}: model {want}, checkpoint {got}"
                  for name, (want, got) in self.mismatched.items()]
        lines += [f"  option     {name} = {value!r}" + (f", the model has {self.unmet[name][0]!r}"
                                                         if name in self.unmet else "")
                  for name, value in self.options.items()]
        return "\n".join(lines)


class _StandIn(dict):
    """Takes the place of a training framework's object: swallows what a pickle gives it and does nothing."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        super().__init__()

    def __setstate__(self, _state: Any) -> None:
        pass


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Reads the weights of a PyTorch or Lightning checkpoint; nothing in the file is ever executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no weights, or objects that cannot be read safely.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: {path} is no file; give the path of the authors' checkpoint")
    try:
        foreign = get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, pickle.UnpicklingError):
        foreign = []  # the older file format; the reader below says what is wrong, if anything
    refused = [name for name in foreign if name.split(".")[0] not in _STAND_IN_MODULES and name not in _STAND_INS]
    if refused:
        raise ValueError(f"checkpoint: {path} holds {', '.join(refused)}, which could run code; save the weights alone "
                         "where you trust it: torch.save(torch.load(SRC, weights_only=False)['state_dict'], OUT)")
    try:
        with safe_globals([(_StandIn, name) for name in foreign]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        raise ValueError(f"checkpoint: {path} cannot be read as weights ({str(error).splitlines()[0]}); expected a "
                         "file of torch.save with a state_dict") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    tensors = {name: value for name, value in (state or {}).items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"checkpoint: {path} holds no weights; expected tensors by name, plain or under 'state_dict'")
    return tensors


def translate(state: Mapping[str, Tensor], rules: Sequence[Rule], options: dict[str, Any],
              optional: tuple[str, ...] = ()) -> Translation:
    """Applies to every entry the first rule that matches its name."""
    translation = Translation({}, {}, {}, [], options, optional)
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    for name, value in state.items():
        match, rule = next(((found, rule) for pattern, rule in compiled if (found := pattern.fullmatch(name))),
                           (None, None))
        if match is None or rule is None:
            translation.unknown.append(name)
        elif rule.name is None:
            translation.dropped[name] = rule.reason
        else:
            new = match.expand(rule.name)
            translation.state[new] = value if rule.change is None else rule.change(value)
            translation.origin[new] = name
    return translation


def fit(translation: Translation, model: nn.Module, system: str, source: str) -> ImportReport:
    """Copies translated weights into a model, entry by entry, and reports what fitted.

    Raises:
        ValueError: nothing fitted.
    """
    wanted = model.state_dict()
    mismatched = {name: (list(wanted[name].shape), list(value.shape)) for name, value in translation.state.items()
                  if name in wanted and wanted[name].shape != value.shape}
    fitting = {name: value for name, value in translation.state.items() if name in wanted and name not in mismatched}
    if not fitting:
        raise ValueError(f"import: no entry of {source} fits this model as {system!r}; check the system and the config")
    model.load_state_dict(fitting, strict=False)
    absent = [name for name in wanted if name not in translation.state]
    return ImportReport(
        system=system, source=source, dropped=translation.dropped, mismatched=mismatched, options=translation.options,
        used={name: translation.origin[name] for name in fitting},
        unused=translation.unknown + [translation.origin[name] for name in translation.state if name not in wanted],
        kept=[name for name in absent if name in translation.optional],
        missing=[name for name in absent if name not in translation.optional],
        unmet=_unmet(translation.options, model),
    )


def _unmet(options: Mapping[str, Any], model: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Looks the options up as attributes of the built model; what the model does not have at all is met."""
    unmet = {}
    for name, needed in options.items():
        found: Any = model
        for word in name.split("."):
            found = getattr(found, word, needed)
        if isinstance(found, Tensor):  # [3 2] bounds, said as six numbers: all that is low, then all that is high
            numbers = found.T if found.dim() == 2 else found
            found = tuple(round(value, 4) for value in numbers.flatten().tolist())
        if found != needed:
            unmet[name] = (found, needed)
    return unmet
