"""bevkit world: draws a synthetic world in genuine nuScenes format: tables, camera images, lidar.

Procedural streets with moving and parked actors of all ten detection classes, seen by six cameras. The scenes carry the
official names, so that nuscenes-devkit loads them with its official splits. The same seed gives the same world.
"""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from bevkit.cli.output import add_json_argument, console, examples, write_json


def image_size(text: str) -> tuple[int, int]:
    """Reads ``400x225`` as (width, height)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or min(size := (int(match[1]), int(match[2]))) < 1:
        raise argparse.ArgumentTypeError(f'expected WIDTHxHEIGHT in pixels such as 400x225, got "{text}"')
    return size


def count(text: str) -> int:
    """Reads a whole number of at least one."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number of at least 1, got "{text}"')
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the world; a killed call goes on where it was")
    parser.add_argument("--scenes", type=count, default=10, metavar="N",
                        help="up to 10 become v1.0-mini, more v1.0-trainval; one in five is held out (default: 10)")
    parser.add_argument("--frames", type=count, default=40, metavar="N",
                        help="keyframes a scene, two a second (default: 40)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, another world (default: 0)")
    parser.add_argument("--image-size", type=image_size, default=(400, 225), metavar="WxH",
                        help="of the camera images; nuScenes has 1600x900 (default: 400x225)")
    parser.add_argument("--version", choices=("v1.0-mini", "v1.0-trainval"),
                        help="name of the folder of tables (default: by the number of scenes)")
    parser.add_argument("--workers", type=count, metavar="N", help="processes (default: one a core)")
    add_json_argument(parser)
    parser.epilog = examples("bevkit world data/world --scenes 10 --seed 0 --image-size 400x225",
                             "bevkit world data/large --scenes 100 --image-size 800x450 --workers 8")


def run(args: argparse.Namespace) -> int:
    from bevkit.datasets.synthetic import make_world

    begin = time.perf_counter()
    make_world(args.out, scenes=args.scenes, seed=args.seed, image_size=args.image_size, frames=args.frames,
               workers=args.workers, version=args.version)
    minutes = (time.perf_counter() - begin) / 60
    console.print(f"{args.scenes} scenes in {args.out} after {minutes:.1f} minutes", highlight=False, soft_wrap=True)
    write_json(args.json, {"scenes": args.scenes, "frames": args.frames, "seed": args.seed,
                           "image_size": args.image_size, "minutes": minutes})
    return 0
