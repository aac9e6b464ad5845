"""Reads a config file, applies ``--set key=value``, and refuses what nothing would read."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry, root
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner, TestLoop, ValLoop
from torch.utils.data import DataLoader

from bevkit import registry as own
from bevkit.datasets.images import ImageLoader
from bevkit.structures import BEVGrid
from bevkit.suggest import nearest

# What mmengine reads beside the parameters of its runner, at the top of a config.
_TOP_LEVEL = {*inspect.signature(Runner.__init__).parameters, "runner_type", "sync_bn", "model_wrapper_cfg", "compile",
              "find_unused_parameters", "activation_checkpointing", "custom_imports", "work_dir"} - {"self", "cfg"}
# Dicts without a ``type``: their last name says who reads them, or which keys they may have.
_READERS: dict[str, tuple[Callable[..., Any], ...]] = {
    "grid": (BEVGrid,),
    "images": (ImageLoader,),
    "optim_wrapper": (OptimWrapper,),
    "train_cfg": (EpochBasedTrainLoop, IterBasedTrainLoop),
    "val_cfg": (ValLoop,),
    "test_cfg": (TestLoop,),
    "train_dataloader": (DataLoader,),
    "val_dataloader": (DataLoader,),
    "test_dataloader": (DataLoader,),
}
_KEYS = {
    "env_cfg": {"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"},
    "mp_cfg": {"mp_start_method", "opencv_num_threads"},
    "randomness": {"seed", "deterministic", "diff_rank_seed"},
    "auto_scale_lr": {"enable", "base_batch_size"},
}
# What mmengine takes out of a dict before it calls the class: by the registry's name, and by the place of a section.
_TAKEN_OUT = {"hook": {"priority"}, "optim_wrapper": {"constructor", "paramwise_cfg"},
              "parameter scheduler": {"convert_to_iter_based"}}
_TAKEN_OUT_AT = {"train_cfg": {"by_epoch"}, "optim_wrapper": {"constructor", "paramwise_cfg"},
                 "train_dataloader": {"num_batch_per_epoch"}, "val_dataloader": {"num_batch_per_epoch"},
                 "test_dataloader": {"num_batch_per_epoch"}}
_NOT_A_CLASS = {"clip_grad"}  # its ``type`` is "norm" or "value"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Reads a config and everything it inherits.

    Args:
        path: a config file of mmengine: plain dicts in a Python file, or JSON or YAML.
        overrides: ``"model.head.future=4"``; the value is a Python literal, or else a string.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or holds a name that nothing reads; names the nearest known one.
    """
    path = Path(path)
    if not path.is_file():
        near = nearest(path.name, [item.name for item in path.parent.glob("*.py")] if path.parent.is_dir() else [])
        raise FileNotFoundError(f"{path}: no such config file{near}")
    for file in _with_bases(path):
        _refuse_unread_names(file)
    try:
        cfg = Config.fromfile(str(path), lazy_import=False)
    except Exception as error:  # a config file is a program: it can fail in any way
        raise ValueError(f"{path}: cannot be read as a config ({type(error).__name__}: {error})") from error
    for override in overrides:
        _apply(cfg, override)
    names = {name: value for name, value in cfg.items() if name in _TOP_LEVEL}
    for place, section in _dicts("", names):
        _check(str(path), place, section)
    return cfg


def _with_bases(path: Path) -> Iterator[Path]:
    """Yields a config file and, depth first, the Python files it inherits."""
    yield path
    if path.suffix != ".py":
        return
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_base_" for t in node.targets):
            named = ast.literal_eval(node.value)
            for base in [named] if isinstance(named, str) else named:
                if (path.parent / base).is_file():
                    yield from _with_bases(path.parent / base)


def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}; a config is a Python file of plain dicts") from error


def _refuse_unread_names(path: Path) -> None:
    """Refuses a name at the top of a file that neither the runner nor the file itself reads.

    A variable that the same file uses is its own affair. One that only a base uses is refused: the base has been read
    by then, and the new value would silently change nothing.
    """
    if path.suffix != ".py":
        return
    names = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Name)]
    read = {node.id for node in names if not isinstance(node.ctx, ast.Store)}
    for node in names:
        if isinstance(node.ctx, ast.Store) and node.id not in _TOP_LEVEL | read and not node.id.startswith("_"):
            raise ValueError(f'{path}:{node.lineno}: nothing reads "{node.id}" here'
                             + (nearest(node.id, _TOP_LEVEL) or "; set the option itself, such as model.head.future"))


def _apply(cfg: Config, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ValueError(f'--set: expected KEY=VALUE, got "{override}"')
    name = key.split(".")[0]
    if name not in _TOP_LEVEL:
        raise ValueError(f'--set {key}: nothing reads "{name}" once the file is read'
                         + (nearest(name, _TOP_LEVEL) or "; set the option itself, such as model.head.future"))
    try:
        cfg.merge_from_dict({key: _value(text)})
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"--set {key}: no such place in the config ({error})") from error


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return words.get(text.lower(), text)


def _dicts(place: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields every dict below a value, with its dotted place."""
    if isinstance(value, dict):
        if place:
            yield place, value
        for name, item in value.items():
            yield from _dicts(f"{place}.{name}" if place else name, item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _dicts(f"{place}.{index}", item)


def _check(path: str, place: str, section: dict[str, Any]) -> None:
    name = place.rsplit(".", 1)[-1]
    if name in _KEYS:
        allowed: set[str] | None = _KEYS[name]
    elif "type" in section and name not in _NOT_A_CLASS:
        allowed = _options_of_type(path, place, section["type"])
    elif name in _READERS:
        allowed = _union(_options(reader) for reader in _READERS[name])
    else:
        return
    if allowed is None:
        return
    allowed = allowed | _TAKEN_OUT_AT.get(name, set())
    for key in section:
        if key not in allowed and key not in ("type", "_scope_", "_delete_"):
            near = nearest(str(key), allowed) or f"; it has {', '.join(sorted(allowed))}"
            raise ValueError(f'{path}: {place} has no option "{key}"{near}')


def _options_of_type(path: str, place: str, kind: Any) -> set[str] | None:
    if not isinstance(kind, str):
        return _options(kind)
    if "." in kind and not kind.startswith(f"{own.SCOPE}."):
        return None  # another project's class, which mmengine finds by its scope
    found = [(registry, registry.module_dict[kind.split(".")[-1]]) for registry in _registries()
             if kind.split(".")[-1] in registry.module_dict]
    if not found:
        known = {name for registry in _registries() for name in registry.module_dict}
        near = nearest(kind, known) or "; import what registers it with custom_imports"
        raise ValueError(f'{path}: {place} has the unknown type "{kind}"{near}')
    taken_out = set().union(*(_TAKEN_OUT.get(registry.name, set()) for registry, _ in found))
    options = _union(_options(built) for _, built in found)
    return None if options is None else options | taken_out


@cache
def _registries() -> tuple[Registry, ...]:
    """Ours first, then mmengine's, each filled by importing the packages that register into it."""
    found = [value for module in (own, root) for value in vars(module).values() if isinstance(value, Registry)]
    unique = tuple(dict.fromkeys(found))
    for registry in unique:
        registry.import_from_location()
    return unique


def _union(sets: Iterable[set[str] | None]) -> set[str] | None:
    """Joins sets of options; None, which accepts anything, wins."""
    joined: set[str] = set()
    for options in sets:
        if options is None:
            return None
        joined |= options
    return joined


def _options(built: Callable[..., Any]) -> set[str] | None:
    """Returns the keyword arguments of a class or function; None where ``**kwargs`` may be anything."""
    if not inspect.isclass(built):
        makers: list[Callable[..., Any]] = [built]
    else:  # a constructor with **kwargs hands them to the next one up
        makers = [cls.__init__ for cls in built.__mro__ if "__init__" in vars(cls) and cls is not object]
    names: set[str] = set()
    for maker in makers:
        parameters = inspect.signature(maker).parameters.values()
        names |= {item.name for item in parameters if item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY)}
        if not any(item.kind is item.VAR_KEYWORD for item in parameters):
            return names - {"self"}
    return None if makers else set()


__all__ = ["load_config"]
