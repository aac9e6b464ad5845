"""Scores a checkpoint on the test data of a config."""

from __future__ import annotations

import argparse

from bevkit.cli.output import add_json_argument, examples, print_table, write_json
from bevkit.cli.train import add_run_arguments, work_dir_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = examples(
        "bevkit test configs/prediction/powerbev_long.py work_dirs/prediction_powerbev_long/iter_1000.pth",
        "bevkit test configs/prediction/powerbev_long.py model.pth --json scores.json",
        "bevkit test configs/detection/videobev_r50_256x704.py model.pth --stream 4",
        "torchrun --nproc-per-node 4 -m bevkit test configs/prediction/powerbev_long.py model.pth")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint of bevkit train or bevkit import-checkpoint")
    parser.add_argument("--stream", nargs="?", const=1, type=int, metavar="N",
                        help="run whole scenes instant by instant, as a vehicle would, N of them side by side")
    add_run_arguments(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from mmengine.dist import is_main_process

    from bevkit.engine.build import evaluate, use_data
    from bevkit.engine.config import load_config
    from bevkit.engine.streaming import use_streams

    cfg = load_config(args.config, args.set)
    use_data(cfg, dataroot=args.dataroot, version=args.version)
    if args.stream is not None:
        use_streams(cfg, args.stream)
    scores = evaluate(cfg, args.checkpoint, work_dir_of(args))
    if is_main_process():
        print_table("Scores", ("score", "value"), sorted(scores.items()))
        write_json(args.json, dict(config=str(args.config), checkpoint=str(args.checkpoint), scores=scores))
    return 0
