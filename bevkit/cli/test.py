"""bevkit test: scores a checkpoint on the test data of a config."""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """
  bevkit test configs/prediction/powerbev_long.py work_dirs/powerbev_long/iter_1000.pth
  bevkit test configs/prediction/powerbev_long.py model.pth --json scores.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="bevkit checkpoint")
    parser.add_argument("--work-dir", help="where logs go (default: work_dirs/<config name>)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change values of the config")
    parser.add_argument("--json", metavar="FILE", help="write the scores to a JSON file")


def run(args: argparse.Namespace) -> int:
    from mmengine.dist import is_main_process

    from bevkit.cli.output import print_scores, write_json
    from bevkit.engine.build import build_runner, load_weights
    from bevkit.engine.config import load_config

    cfg = load_config(args.config, args.set)
    work_dir = args.work_dir or cfg.get("work_dir") or Path("work_dirs") / Path(args.config).stem
    runner = build_runner(cfg, work_dir)
    load_weights(getattr(runner.model, "module", runner.model), args.checkpoint)
    scores = runner.test()
    if is_main_process():
        print_scores(scores)
        if args.json:
            write_json(args.json, dict(config=str(args.config), checkpoint=str(args.checkpoint), scores=scores))
    return 0
