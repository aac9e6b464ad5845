"""bevkit train: trains a model of a config, resumes after a kill, runs on several processes under torchrun."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """
  bevkit train configs/prediction/powerbev_long.py
  bevkit train configs/prediction/powerbev_long.py --resume --amp bf16
  bevkit train configs/tiny/powerbev.py --set train_dataloader.batch_size=1
  torchrun --nproc-per-node 8 -m bevkit train configs/prediction/powerbev_long.py
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="where logs and checkpoints go (default: work_dirs/<config name>)")
    parser.add_argument("--resume", action="store_true", help="continue from the latest checkpoint of the work dir")
    parser.add_argument("--checkpoint", help="weights to start from")
    parser.add_argument("--amp", choices=("bf16", "fp16"), help="mixed precision")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change values of the config")


def run(args: argparse.Namespace) -> int:
    from bevkit.engine.build import build_runner
    from bevkit.engine.config import load_config

    cfg = load_config(args.config, args.set)
    work_dir = args.work_dir or cfg.get("work_dir") or Path("work_dirs") / Path(args.config).stem
    build_runner(cfg, work_dir, resume=args.resume, checkpoint=args.checkpoint, amp=args.amp).train()
    return 0
