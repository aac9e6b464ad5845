"""Trains the model of a config; continues after a kill, and runs on several processes under torchrun."""

from __future__ import annotations

import argparse
from pathlib import Path

from bevkit.cli.output import add_set_argument, examples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = examples(
        "bevkit train configs/prediction/powerbev_long.py --amp fp16",
        "bevkit train configs/prediction/powerbev_long.py --resume            # go on where it was killed",
        "bevkit train configs/detection/videobev_r50_256x704.py --stream 8 --amp fp16",
        "bevkit train configs/tiny/powerbev.py --set train_dataloader.batch_size=1",
        "torchrun --nproc-per-node 4 -m bevkit train configs/prediction/powerbev_long.py")
    parser.add_argument("config", help="config file")
    add_run_arguments(parser)
    parser.add_argument("--resume", action="store_true", help="continue from the latest checkpoint of the work dir")
    parser.add_argument("--checkpoint", metavar="FILE", help="weights to start from")
    parser.add_argument("--stream", type=int, metavar="N",
                        help="train on whole scenes instant by instant, N of them side by side, instead of on clips; "
                        "each keyframe once an epoch, whatever the config's sampler")
    parser.add_argument("--amp", choices=("bf16", "fp16"), help="mixed precision; fp16 needs CUDA")


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what training and testing have in common."""
    parser.add_argument("--dataroot", metavar="DIR", help="folder of the tables and samples (default: the config's)")
    parser.add_argument("--version", help="tables such as v1.0-mini (default: the config's)")
    parser.add_argument("--work-dir", metavar="DIR",
                        help="where logs and checkpoints go (default: work_dirs/<name of the config>)")
    add_set_argument(parser)


def work_dir_of(args: argparse.Namespace) -> Path:
    """Returns the work dir of a call: as asked for, or named after the config and the folder it lies in."""
    config = Path(args.config)
    return Path(args.work_dir) if args.work_dir else Path("work_dirs") / f"{config.parent.name}_{config.stem}"


def run(args: argparse.Namespace) -> int:
    from bevkit.engine.build import build_runner, use_data
    from bevkit.engine.config import load_config
    from bevkit.engine.streaming import use_streams

    cfg = load_config(args.config, args.set)
    use_data(cfg, dataroot=args.dataroot, version=args.version)
    if args.stream is not None:
        use_streams(cfg, args.stream, "train")
    build_runner(cfg, work_dir_of(args), resume=args.resume, checkpoint=args.checkpoint, amp=args.amp).train()
    return 0
