"""bevkit benchmark prior: the official detection score of the blindest and of the best that a config could do.

prior: the mean box of each class in the training set's most likely cells, whatever the images show.
coded truth: the truth through the head's coder, as a network without error would hand it on.
truth: the labels themselves as detections.
"""

from __future__ import annotations

import argparse

from bevkit.cli.benchmarks import machine
from bevkit.cli.output import add_json_argument, add_set_argument, examples, print_table, write_json

SCORES = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file of a detector")
    parser.add_argument("--dataroot", metavar="DIR", help="folder of the tables (default: the config's)")
    parser.add_argument("--version", help="tables such as v1.0-mini (default: the config's)")
    parser.add_argument("--boxes", type=int, default=50, metavar="N", help="of each class in the prior (default: 50)")
    add_set_argument(parser)
    add_json_argument(parser)
    parser.epilog = examples("bevkit benchmark prior configs/synthetic/bevdepth.py --json prior.json",
                             "bevkit benchmark prior configs/detection/bevdepth_r50_256x704.py --version v1.0-mini")


def run(args: argparse.Namespace) -> int:
    from bevkit.engine.build import use_data
    from bevkit.engine.config import load_config
    from bevkit.engine.oracle import coded_truth, labels_of, score_detections, truth_as_detections
    from bevkit.engine.prior import fit_prior

    if not 1 <= args.boxes <= 50:
        raise ValueError(f"--boxes: expected 1 to 50 of each class (500 a keyframe are allowed), got {args.boxes}")
    cfg = load_config(args.config, args.set)
    use_data(cfg, dataroot=args.dataroot, version=args.version)
    prior, dataset = fit_prior(labels_of(cfg, "train", coded=False), args.boxes), labels_of(cfg, "test")
    contenders = {"prior": lambda clip: prior, "coded truth": coded_truth(dataset), "truth": truth_as_detections}
    rows = {name: score_detections(dataset, detect) for name, detect in contenders.items()}
    print_table(f"{args.config}: {len(dataset)} keyframes of {dataset.version} {dataset.split or ''}",
                ("contender", *SCORES), [[name, *(scores[key] for key in SCORES)] for name, scores in rows.items()])
    write_json(args.json, dict(machine=machine(), config=str(args.config), scores=rows))
    return 0
