"""bevkit import-checkpoint: turns an author's released weights into bevkit's, with a report of every entry.

Writes three files of one name: the weights (OUT.pth), the config that uses them as their authors did (OUT.py), and the
report (OUT.json). Nothing in the foreign file is ever executed, and it cannot change the configured grid.
"""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import Any

import bevkit
from bevkit.cli.output import console, examples
from bevkit.files import write_atomically

# The config that a system's weights are tried on unless --config names another; heads alone want --partial.
CONFIGS = {
    "bevdepth": "configs/detection/bevdepth_r50_256x704.py", "bevdet": "configs/detection/bevdet4d_r50_256x704.py",
    "beverse_motion": "configs/prediction/fiery_flow_warp.py",
    "bevformer": "configs/detection/bevformer_base.py", "centerpoint": "configs/detection/bevdepth_r50_256x704.py",
    "centerpoint_before_1.0": "configs/detection/bevdepth_r50_256x704.py",
    "efficient": "configs/prediction/efficient_short.py", "fiery": "configs/prediction/fiery_long.py",
    "fiptr": "configs/prediction/fiptr_lss.py",
    "fbbev": "configs/detection/fbbev_r50_256x704.py", "hop": "configs/detection/hop_bevdet4d_r50_256x704.py",
    "matrixvt": "configs/detection/matrixvt_r50_256x704.py", "powerbev": "configs/prediction/powerbev_long.py",
    "sparsebev": "configs/detection/sparsebev_r50_256x704.py",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("src", type=Path, metavar="SRC", help="the authors' file: Lightning's or a plain state_dict")
    parser.add_argument("--system", required=True, choices=sorted(CONFIGS), help="whose weights these are")
    parser.add_argument("--out", required=True, type=Path, metavar="OUT", help="name of the files to write")
    parser.add_argument("--config", type=Path, help="config of the model that they belong to (default: by system)")
    parser.add_argument("--partial", action="store_true",
                        help="accept that parts of the model get nothing, as when only an image encoder is taken over")
    parser.epilog = examples(
        "bevkit import-checkpoint powerbev_long.ckpt --system powerbev --out work_dirs/powerbev_long",
        "bevkit import-checkpoint s.ckpt --system powerbev --config configs/prediction/powerbev_short.py --out short",
        "bevkit import-checkpoint bevformer_tiny.pth --system bevformer --config configs/detection/bevformer_tiny.py "
        "--out tiny",
        "bevkit test work_dirs/powerbev_long.py work_dirs/powerbev_long.pth")


def run(args: argparse.Namespace) -> int:
    import torch

    from bevkit.engine.build import build_model
    from bevkit.engine.config import load_config
    from bevkit.importers import import_checkpoint

    config = args.config or default_config(args.system)
    model = build_model(load_config(config))
    report = import_checkpoint(args.src, args.system, model)
    console.print(str(report), markup=False, highlight=False, soft_wrap=True)
    if not report.complete and not args.partial:
        missing, misfits = len(report.missing), len(report.mismatched)
        raise ValueError(f"import: {len(report.unused)} entries of {args.src} found no place, {missing} of the model "
                         f"got nothing, {misfits} have another shape; name the config of these weights with --config, "
                         "or accept it with --partial")
    out = args.out.with_suffix("") if args.out.suffix in (".pth", ".py", ".json") else args.out
    content = io.BytesIO()
    torch.save({"state_dict": model.state_dict(), "meta": {"source": args.src.name, "system": args.system,
                                                           "bevkit": bevkit.__version__}}, content)
    write_atomically(f"{out}.pth", content.getvalue())
    write_atomically(f"{out}.py", config_text(config, out, report.system, args.src.name, report.options))
    write_atomically(f"{out}.json", report.to_json() + "\n")
    console.print(f"weights {out}.pth, config {out}.py, report {out}.json", highlight=False, soft_wrap=True)
    return 0


def default_config(system: str) -> Path:
    """Finds the config of a system from here, or in the checkout that this package was installed from."""
    for root in (Path(), Path(bevkit.__file__).resolve().parents[1]):
        if (root / CONFIGS[system]).is_file():
            return root / CONFIGS[system]
    raise FileNotFoundError(f"{CONFIGS[system]}: no such config here; name it with --config")


def config_text(config: Path, out: Path, system: str, source: str, options: dict[str, Any]) -> str:
    """Writes a config that inherits another and sets the options that weights need (`ImportReport.options`)."""
    nested: dict[str, Any] = {}
    for name, value in options.items():
        *path, last = name.split(".")
        section = nested
        for word in path:
            section = section.setdefault(word, {})
        section[last] = value
    images = nested.pop("images", {})
    loaders = "".join(f"{name}_dataloader = dict(dataset=dict(images={images!r}))\n"
                      for name in ("train", "val", "test") if images)
    base = os.path.relpath(config.resolve(), out.resolve().parent).replace(os.sep, "/")
    return (f'"""The options that the released weights of {system} ({source}) were trained with."""\n\n'
            f"_base_ = [{base!r}]\n\nmodel = {nested!r}\n{loaders}")
