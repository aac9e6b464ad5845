"""Checkpoints that survive a kill, load without executing code, and resume to the same result."""

from __future__ import annotations

import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import Hook
from mmengine.runner import Runner

from bevkit.files import write_atomically
from bevkit.registry import HOOKS


class AtomicLocalBackend(LocalBackend):
    """Writes local files so that a reader sees the old file or the whole new one, never a part."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        write_atomically(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        write_atomically(filepath, obj.encode(encoding))


# mmengine writes checkpoints through its backend of plain paths; this makes every such write atomic.
register_backend("local", AtomicLocalBackend, force=True, prefixes="")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU without executing code.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a checkpoint, damaged, or holding objects that only unsafe loading could read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: no such file; check the path")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own words recommend loading it unsafely; they are not passed on.
        raise ValueError(f"checkpoint {path}: expected tensors and plain values only, got a file that must run code to "
                         "load or is damaged; save its state_dict with torch.save and use that") from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        cause = str(error).split("\n")[0]
        raise ValueError(f"checkpoint {path}: expected a file of torch.save, got a damaged or foreign one ({cause}); "
                         "copy or train it again") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"checkpoint {path}: expected a dict, got {type(checkpoint).__name__}")
    return checkpoint


def weights_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Returns the weights to test with: the averaged ones (EMA) where the checkpoint has them."""
    if "ema_state_dict" in checkpoint:
        return {name.removeprefix("module."): value for name, value in checkpoint["ema_state_dict"].items()
                if name != "steps"}
    return checkpoint.get("state_dict", checkpoint)


def latest_checkpoint(folder: str | Path) -> Path | None:
    """Finds the checkpoint of a work dir that has trained longest, None when there is none."""
    def progress(path: Path) -> tuple[int, int]:
        kind, number = path.stem.split("_")
        return (1, int(number)) if kind == "iter" else (0, int(number))
    found = [path for path in Path(folder).glob("*_*.pth")
             if path.stem.split("_")[0] in ("iter", "epoch") and path.stem.split("_")[-1].isdigit()]
    return max(found, key=progress) if found else None


def _plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(_plain(item) for item in value)
    return type(value) in (bool, int, float, str, type(None))  # no subclass: numpy's float64 is a float too


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Keeps checkpoints free of pickled objects and stores the state of the random generators.

    mmengine's message hub holds log histories as Python objects, which torch.load(weights_only=True) refuses; they only
    smooth the printed losses, so they are left out.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        hub = checkpoint["message_hub"]
        info = {key: value for key, value in hub["runtime_info"].items() if _plain(value)}
        checkpoint["message_hub"] = dict(log_scalars={}, runtime_info=info,
                                         resumed_keys={key: True for key in info})
        checkpoint["random_state"] = random_state()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        # Building the data iterator draws random numbers, so the loop puts the state back just before its first step.
        if "random_state" in checkpoint and getattr(runner, "_resume", False):
            runner.train_loop.random_state = checkpoint["random_state"]


def random_state() -> dict[str, Any]:
    """Reads the state of every random generator of this process as plain values and tensors."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    return dict(
        python=list(random.getstate()[1]), numpy=dict(keys=keys.tolist(), position=int(position),
                                                      has_gauss=int(has_gauss), cached=float(cached)),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    )


def set_random_state(state: dict[str, Any]) -> None:
    """Undoes `random_state`."""
    random.setstate((3, tuple(state["python"]), None))
    saved = state["numpy"]
    np.random.set_state(("MT19937", np.array(saved["keys"], dtype=np.uint32), saved["position"], saved["has_gauss"],
                         saved["cached"]))
    torch.set_rng_state(state["torch"].cpu())
    for device, cuda_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(cuda_state.cpu(), device)
