"""Hooks of training: a progress bar, and an optimiser step under bfloat16."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from bevkit.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows a bar with the time left for training and testing, where the output is a terminal."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.tasks: dict[str, Any] = {}

    def _advance(self, name: str, done: int, total: int, note: str) -> None:
        if not (is_main_process() and sys.stdout.isatty()):
            return
        if self.progress is None:
            self.progress = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                     TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
            self.progress.start()
        if name not in self.tasks:
            self.tasks[name] = self.progress.add_task(name, total=total, note="")
        self.progress.update(self.tasks[name], completed=done, total=total, note=note)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict[str, Any] | None = None) -> None:
        loss = float(outputs["loss"].detach()) if outputs and "loss" in outputs else float("nan")
        self._advance("train", runner.iter + 1, runner.max_iters, f"loss {loss:.3f}")

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._advance("validate", batch_idx + 1, len(runner.val_dataloader), "")

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self._advance("test", batch_idx + 1, len(runner.test_dataloader), "")

    def after_run(self, runner: Runner) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress, self.tasks = None, {}


@OPTIM_WRAPPERS.register_module()
class Bf16OptimWrapper(OptimWrapper):
    """Runs the forward pass under bfloat16 autocast on any device; bfloat16 needs no loss scaling."""

    @contextlib.contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield
