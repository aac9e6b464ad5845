"""Writes a model as ONNX with a manifest and checks it with ONNX Runtime and TensorRT for RTX."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bevkit.cli.output import add_json_argument, add_set_argument, console, examples, print_table, write_json

RANDOM_CAMERAS = 6  # of the noise that stands in for a data set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = examples(
        "bevkit export configs/prediction/powerbev_long.py model.pth --out export/long",
        "bevkit export configs/prediction/powerbev_long.py model.pth --out export/long16 --precision fp16",
        "bevkit export configs/tiny/powerbev.py --out export/tiny --no-tensorrt  # random weights")
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", nargs="?", help="checkpoint of bevkit train or bevkit import-checkpoint; "
                                                      "without one the weights are random")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR",
                        help="folder for model.onnx, manifest.json, report.json and report.md")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32",
                        help="fp16: features in half precision by explicit casts, inputs and outputs stay float32")
    parser.add_argument("--clips", type=int, default=2, metavar="N",
                        help="clips of the test data to compare ONNX Runtime and PyTorch on (default 2)")
    parser.add_argument("--cameras", type=int, metavar="N",
                        help="do not read the test data: compare on noise from a ring of N cameras")
    parser.add_argument("--dataroot", help="folder of the test data, in place of the config's")
    parser.add_argument("--version", help="tables of the test data, in place of the config's")
    parser.add_argument("--no-tensorrt", action="store_true", help="do not build an engine with TensorRT for RTX")
    add_set_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    from bevkit.engine.build import load_model, use_data
    from bevkit.engine.config import load_config
    from bevkit.export.artefact import write_artefact
    from bevkit.export.artefact import write_json as write_plain
    from bevkit.export.report import decoded_sentence, markdown, tensorrt_sentence
    from bevkit.export.untrained import settle_norms
    from bevkit.files import write_atomically

    config = load_config(args.config, args.set)
    use_data(config, dataroot=args.dataroot, version=args.version)
    model = load_model(config, args.checkpoint)
    model.exportable()  # a model that cannot be exported says so before data are read
    clips, cameras, frames = clips_for(config, model, args.clips, args.cameras)
    if args.checkpoint is None:
        settle_norms(model, clips[0])
    with console.status("exporting") as status:
        report = write_artefact(model, clips, args.out, args.precision, cameras, not args.no_tensorrt,
                                say=lambda step: status.update(step))
    source = dict(config=str(args.config), checkpoint=str(args.checkpoint or "none, random weights"), frames=frames)
    report = dict(source=source, **report)
    write_plain(args.out / "report.json", report)
    write_atomically(args.out / "report.md", markdown(report))
    print_table("ONNX Runtime against PyTorch", ("output", "relative error", "beyond tolerance"),
                [(name, error, f"{100 * report['parity']['stray'][name]:.2g} %")
                 for name, error in report["parity"]["relative_error"].items()])
    console.print(f"{args.precision}, {report['parity']['instants']} instants, {frames}", soft_wrap=True)
    console.print(decoded_sentence(report["parity"]))
    console.print(tensorrt_sentence(report["tensorrt"]), soft_wrap=True)
    console.print(f"{'Written to' if report['passed'] else '[red]Not passed[/]; see report.md in'} {args.out}")
    write_json(args.json, report)
    return 0 if report["passed"] else 1


def clips_for(config: Any, model: Any, count: int, cameras: int | None) -> tuple[list[Any], list[str], str]:
    """Returns clips to compare on, the names of their cameras, and where they are from.

    They come from the test data; where those are absent, or ``cameras`` is given, they are noise.
    """
    from bevkit.engine.build import build_dataset
    from bevkit.export.graph import random_clip
    from bevkit.structures import collate_clips

    if count < 1 or (cameras is not None and cameras < 1):
        raise ValueError(f"--clips, --cameras: expected at least 1, got {count} and {cameras}")
    reason = ""
    if cameras is None and config.get("test_dataloader") is not None:
        # Labels are not needed, so neither are boxes nor a future.
        config.test_dataloader.dataset.update(target_coder=None, future=0)
        try:
            dataset = build_dataset(config, "test")
        except FileNotFoundError as error:
            reason = f" ({error})"
        else:
            step = max(len(dataset) // count, 1)
            chosen = range(0, len(dataset), step)[:count]
            clips = [collate_clips([dataset[index]])["batch"] for index in chosen]
            return clips, list(dataset.cameras), f"{len(clips)} clips of {dataset.dataroot} {dataset.version}"
    cameras = cameras or RANDOM_CAMERAS
    clip = random_clip(model.grid, cameras, image_size_of(config, model), model.instants + 1)
    return [clip], [f"camera_{index}" for index in range(cameras)], f"noise of {cameras} cameras{reason}"


def image_size_of(config: Any, model: Any) -> tuple[int, int]:
    """Returns the (height, width) of a model's images; one that takes any size has that of its test data."""
    size = getattr(getattr(model, "view_transformer", None), "image_size", None) or \
        config.get("test_dataloader", {}).get("dataset", {}).get("images", {}).get("size")
    if size is None:
        raise ValueError("config: expected the size of images, got none; set test_dataloader.dataset.images.size")
    return tuple(size)
