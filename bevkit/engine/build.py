"""From a config to models, data sets and a runner. What the config writes once is handed on here."""

from __future__ import annotations

import copy
import inspect
import logging
import os
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import Dataset

import bevkit.engine  # noqa: F401  registers hooks, loops and the atomic file backend
import bevkit.metrics  # noqa: F401
from bevkit.engine.checkpoint import latest_checkpoint, read_checkpoint, weights_of
from bevkit.models.architectures import DenseBEV
from bevkit.registry import DATASETS, METRICS, MODELS, SCOPE


def resolve(cfg: Config) -> Config:
    """Returns a copy in which data sets know the head's coder, and metrics that ask for one the grid."""
    cfg = copy.deepcopy(cfg)
    cfg.setdefault("default_scope", SCOPE)
    grid, coder = cfg.model.get("grid"), cfg.model.head.get("coder")
    if grid is None and "bounds" in cfg.model.head:  # a sparse model has no map: one cell, as wide as its boxes reach
        x_low, y_low, z_low, x_high, y_high, z_high = cfg.model.head.bounds
        grid = dict(x=(x_low, x_high, x_high - x_low), y=(y_low, y_high, y_high - y_low),
                    z=(z_low, z_high, z_high - z_low))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = cfg.get(name)
        if loader is not None and coder is not None:
            loader.dataset.setdefault("target_coder", coder)
            if grid is not None:
                loader.dataset.setdefault("grid", grid)
    for name in ("val_evaluator", "test_evaluator"):
        evaluators = cfg.get(name)
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators] if evaluators else []:
            if "grid" in inspect.signature(METRICS.get(evaluator.type)).parameters:
                evaluator.setdefault("grid", grid)
    return cfg


def use_data(cfg: Config, **options: Any) -> None:
    """Sets options of all data sets of a config, such as ``dataroot`` or ``version``; None leaves one as it is."""
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if cfg.get(name) is not None:
            cfg[name].dataset.update({key: value for key, value in options.items() if value is not None})


def build_model(cfg: Config) -> DenseBEV:
    """Builds the model of a config with its initial weights."""
    init_default_scope(SCOPE)
    return MODELS.build(cfg.model)


def load_weights(model: DenseBEV, path: str | Path) -> dict[str, Any]:
    """Loads a bevkit checkpoint into a model, strictly, and returns the checkpoint.

    Raises:
        ValueError: the weights do not fit the model; says which.
    """
    checkpoint = read_checkpoint(path)
    weights, own = weights_of(checkpoint), model.state_dict()
    problems = [f"{name}: {list(weights[name].shape)} instead of {list(value.shape)}" for name, value in own.items()
                if name in weights and weights[name].shape != value.shape]
    problems += [f"{name}: missing" for name in own if name not in weights]
    problems += [f"{name}: unknown" for name in weights if name not in own]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(f"checkpoint {path}: its weights do not fit the model of this config "
                         f"({'; '.join(problems[:3])}{more}); use the config it was trained with, "
                         "or bevkit import-checkpoint for foreign weights")
    model.load_state_dict(weights)
    return checkpoint


def load_model(cfg: Config, checkpoint: str | Path | None = None) -> DenseBEV:
    """Builds the model of a config, loads a checkpoint where one is given, and sets it to evaluation."""
    model = build_model(cfg)
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model.eval()


def build_dataset(cfg: Config, which: str) -> Dataset:
    """Builds the ``train``, ``val`` or ``test`` data set of a config."""
    init_default_scope(SCOPE)
    loader = resolve(cfg).get(f"{which}_dataloader")
    if loader is None:
        raise ValueError(f"config: expected {which}_dataloader, got none; add it or use another split")
    return DATASETS.build(loader.dataset)


def start_processes(backend: str | None = None) -> str:
    """Joins the process group torchrun has prepared; returns mmengine's launcher name (``none`` without one)."""
    if "LOCAL_RANK" not in os.environ:
        return "none"
    if not torch.distributed.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group(backend or ("nccl" if cuda else "gloo"))
    return "pytorch"


def build_runner(cfg: Config, work_dir: str | Path, *, resume: bool = False, checkpoint: str | Path | None = None,
                 amp: str | None = None) -> Runner:
    """Builds the mmengine runner of a config.

    Args:
        work_dir: where logs and checkpoints go.
        resume: continue from the latest checkpoint in ``work_dir``, where there is one.
        checkpoint: weights to start from (training) or to test.
        amp: ``bf16`` or ``fp16`` mixed precision instead of the config's.
    """
    cfg = resolve(cfg)
    cfg.launcher = start_processes()
    cfg.work_dir = str(work_dir)
    if amp is not None:
        use_amp(cfg, amp)
    if not torch.cuda.is_available() and cfg.launcher != "none":
        # mmengine names a CUDA device for every wrapper, unless its config does.
        cfg.setdefault("model_wrapper_cfg", dict(type="MMDistributedDataParallel", device_ids=None,
                                                 broadcast_buffers=False))
        cfg.sync_bn = None  # PyTorch synchronises batch norms on GPUs only
    if resume:
        latest = latest_checkpoint(work_dir)
        if latest is not None:
            cfg.load_from, cfg.resume = str(latest), True
    if checkpoint is not None and not cfg.get("resume"):
        cfg.load_from = str(checkpoint)
    if cfg.get("load_from"):
        read_checkpoint(cfg.load_from)  # a damaged or foreign file is refused here, with a clear sentence
    return TerseRunner.from_cfg(cfg)


class TerseRunner(Runner):
    """mmengine's runner with a quiet console: environment, config and hooks, pages long, go to the log file alone."""

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **options: Any) -> MMLogger:
        logger = super().build_logger(log_level, log_file, **options)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: "\n" not in record.getMessage().strip()
                                  and "deprecated" not in record.getMessage())
        return logger


def use_amp(cfg: Config, dtype: str) -> None:
    """Turns the optimiser wrapper of a config to mixed precision, ``bf16`` or ``fp16`` (fp16 needs CUDA)."""
    if dtype == "bf16":
        cfg.optim_wrapper.type = "Bf16OptimWrapper"
    elif dtype == "fp16":
        if not torch.cuda.is_available():
            raise ValueError("amp: fp16 training needs a CUDA device, got none; use --amp bf16")
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.dtype = "float16"
    else:
        raise ValueError(f"amp: expected bf16 or fp16, got {dtype!r}")


def evaluate(cfg: Config, checkpoint: str | Path, work_dir: str | Path) -> dict[str, float]:
    """Scores a checkpoint on the test data of a config; every process of a torchrun gets the same numbers."""
    runner = build_runner(cfg, work_dir)
    load_weights(getattr(runner.model, "module", runner.model), checkpoint)
    return runner.test()
