"""bevkit benchmark loader: times camera images from file to tensor on one core, beside the way of the FIERY family.

That way, as their released code goes it: PIL decodes, PIL resizes the whole image (bilinear), PIL crops, the pixels
become a float tensor and are normalised. bevkit leaves the last step to the device; it is timed here all the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevkit.cli.benchmarks import machine
from bevkit.cli.output import add_json_argument, examples, print_table, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from bevkit.datasets.images import ImagePlan

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Way = Callable[[list[str], list["ImagePlan"]], "Tensor"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares what `bevkit benchmark loader` takes."""
    parser.add_argument("--dataroot", type=Path, required=True, metavar="DIR", help="folder with tables and samples")
    parser.add_argument("--version", default="v1.0-mini", help="nuScenes version (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(224, 480), metavar=("H", "W"),
                        help="size of the result (default: 224 480)")
    parser.add_argument("--images", type=int, default=60, metavar="N", help="files to read (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N",
                        help="passes over them; the fastest counts (default: %(default)s)")
    add_json_argument(parser)
    parser.epilog = examples(
        "bevkit benchmark loader --dataroot data/nuscenes --version v1.0-mini",
        "bevkit benchmark loader --dataroot data/nuscenes --version v1.0-trainval --size 256 704 --json loader.json")


def run(args: argparse.Namespace) -> int:
    """Times loading, prints a table."""
    size = (args.size[0], args.size[1])
    rows = measure(args.dataroot, args.version, size, args.images, args.repeats)
    print_table(f"{rows[0]['files']} images of {args.version} to {size[0]}x{size[1]}, one core",
                ("way", "images/s", "ms/image", "speed-up", "grey difference"),
                [[row[key] for key in ("way", "images_per_second", "ms_per_image", "speedup", "grey_difference")]
                 for row in rows])
    write_json(args.json, dict(machine=machine(), version=args.version, size=size, rows=rows))
    return 0


def measure(dataroot: Path, version: str, size: tuple[int, int] = (224, 480), images: int = 60,
            repeats: int = 3) -> list[dict[str, Any]]:
    """Times every way over the same files on one thread, after a first pass that fetches them from the disk.

    Returns:
        rows of way, files, images_per_second, ms_per_image, speedup over the authors' way, and grey_difference: the
        mean absolute difference from its pixels, in grey values.
    """
    import cv2
    import torch

    from bevkit.datasets import ImageLoader

    default = ImageLoader(size)
    ways: dict[str, Way] = {
        "PIL, float, normalised (FIERY)": lambda paths, plans: torch.stack(list(map(_fiery, paths, plans))),
        "bevkit, full decode": ImageLoader(size, reduced=False).read,
        "bevkit": default.read,
        "bevkit, float, normalised": lambda paths, plans: _normalised(default.read(paths, plans)),
    }
    files = _files(dataroot, version, images)
    paths = [path for path, _ in files]
    plans = [default.plan(source, (1.0, 0.5, 1.0, 0.0, 0.0)) for _, source in files]
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        return _time(ways, paths, plans, repeats)
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


def _files(dataroot: Path, version: str, count: int) -> list[tuple[str, tuple[int, int]]]:
    """Lists image files and their sizes, keyframe by keyframe."""
    from bevkit.datasets import NuScenesClips

    files: list[tuple[str, tuple[int, int]]] = []
    for clip in NuScenesClips(dataroot, version, with_images=False):
        assert clip.present.rig is not None
        files += [(path, clip.present.rig.image_size) for path in clip.present.meta["image_paths"]]
        if len(files) >= count:
            break
    return files[:count]


def _time(ways: dict[str, Way], paths: list[str], plans: list[ImagePlan], repeats: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    truth = None
    for name, way in ways.items():
        grey = _grey(way(paths, plans))
        truth = grey if truth is None else truth
        seconds = min(_seconds(way, paths, plans) for _ in range(max(repeats, 1))) / len(paths)
        rows.append(dict(way=name, files=len(paths), images_per_second=1 / seconds, ms_per_image=1e3 * seconds,
                         speedup=rows[0]["ms_per_image"] / (1e3 * seconds) if rows else 1.0,
                         grey_difference=(grey - truth).abs().mean().item()))
    return rows


def _seconds(way: Way, paths: list[str], plans: list[ImagePlan]) -> float:
    start = time.perf_counter()
    way(paths, plans)
    return time.perf_counter() - start


def _fiery(path: str, plan: ImagePlan) -> Tensor:
    """Loads one image as FIERY and PowerBEV do: [3 h w] float, normalised."""
    import numpy as np
    import torch
    from PIL import Image

    (left, top), (height, width) = plan.corner, plan.size
    picture = Image.open(path).resize(plan.resized[::-1], resample=Image.Resampling.BILINEAR)
    picture = picture.crop((left, top, left + width, top + height))
    return _normalised(torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()[None])[0]


def _normalised(images: Tensor) -> Tensor:
    """Turns uint8 [N 3 h w] to float with the mean and deviation of ImageNet."""
    import torch

    return (images.float() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _grey(images: Tensor) -> Tensor:
    """Undoes `_normalised` where it was done: grey values 0..255 as float."""
    import torch

    if images.is_floating_point():
        return ((images * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255).round()
    return images.float()
