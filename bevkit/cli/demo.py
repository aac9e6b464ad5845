"""The whole walk in twelve minutes: a world, training, held-out scores, export, and one page that shows it all."""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevkit.cli.output import add_json_argument, add_set_argument, console, examples, print_table, write_json

if TYPE_CHECKING:
    from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "synthetic" / "powerbev_demo.py"
WEIGHTS = CONFIG.with_name("powerbev.pth")
RANGE = "32x32"  # what the headline is about
PROVENANCE = (
    "Every image is drawn: the world is procedural, and so are its labels. The scores say that the whole chain works, "
    "not how good the model is on real roads.",
    "Twelve minutes on two cores are too few to learn this from nothing. The training starts from weights that a "
    "recorded command trained on other seeds of the world ({weights}); the held-out scenes were in neither training.",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = examples("bevkit demo",
                             "bevkit demo --out work_dirs/demo --seed 7   # another world",
                             "bevkit demo --scenes 4 --json demo.json     # less of everything")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"), metavar="DIR",
                        help="where the world, the run and report.html go (default: work_dirs/demo)")
    parser.add_argument("--scenes", type=int, default=10, metavar="N",
                        help="2 to 10; one in five is held out (default: 10)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the world (default: 0)")
    parser.add_argument("--from-scratch", action="store_true", help="do not start from the weights beside the config")
    add_set_argument(parser)
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    if not CONFIG.is_file():
        raise FileNotFoundError(f"{CONFIG}: the demo needs the configs of the source tree; run it from a checkout")
    minutes: dict[str, float] = {}
    with stage("world", minutes):
        from bevkit.datasets.synthetic import make_world
        make_world(args.out / "world", scenes=args.scenes, seed=args.seed)
    cfg = config_of(args)
    with stage("training", minutes):
        checkpoint = train(cfg, args)
    with stage("test", minutes):
        scores, oracle = score(cfg, checkpoint, args.out)
    with stage("export", minutes):
        export = export_report(cfg, checkpoint, args.out / "export")
    with stage("pictures", minutes):
        figures = draw(cfg, checkpoint, args.out / "pictures")
    page = write_page(args, scores, oracle, export, figures, minutes)
    print_table("Held-out scenes", ("score", "value"), sorted({**scores, **prefixed("oracle", oracle)}.items()))
    console.print(f"{sum(minutes.values()):.1f} minutes; open [bold]{page}[/]", soft_wrap=True)
    write_json(args.json, dict(scores=scores, oracle=oracle, minutes=minutes, export=export))
    return 0 if export["passed"] else 1


@contextmanager
def stage(name: str, minutes: dict[str, float]) -> Iterator[None]:
    """Announces a stage and takes its time."""
    console.rule(f"[bold]{name}", align="left")
    begin = time.perf_counter()
    yield
    minutes[name] = (time.perf_counter() - begin) / 60


def config_of(args: argparse.Namespace) -> Config:
    from bevkit.engine.build import use_data
    from bevkit.engine.config import load_config

    cfg = load_config(CONFIG, args.set)
    use_data(cfg, dataroot=str(args.out / "world"))
    return cfg


def train(cfg: Config, args: argparse.Namespace) -> Path:
    """Trains, or goes on where a killed demo was, and returns the checkpoint."""
    import torch

    from bevkit.engine.build import build_runner
    from bevkit.engine.checkpoint import latest_checkpoint

    start = None if args.from_scratch else WEIGHTS
    quick = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # where the CPU has no bfloat16 it is slower than float32
    build_runner(cfg, args.out / "run", resume=True, checkpoint=start, amp="bf16" if quick else None).train()
    checkpoint = latest_checkpoint(args.out / "run")
    assert checkpoint is not None
    return checkpoint


def score(cfg: Config, checkpoint: Path, out: Path) -> tuple[dict[str, float], dict[str, float]]:
    from bevkit.engine.build import evaluate
    from bevkit.engine.oracle import oracle_scores

    scores = evaluate(cfg, checkpoint, out / "test")
    return {name.split("/", 1)[1]: value for name, value in scores.items()}, oracle_scores(cfg)


def export_report(cfg: Config, checkpoint: Path, out: Path) -> dict[str, Any]:
    from bevkit.cli.export import clips_for
    from bevkit.engine.build import load_model
    from bevkit.export.artefact import write_artefact

    model = load_model(cfg, checkpoint)
    clips, cameras, _ = clips_for(copy.deepcopy(cfg), model, 2, None)
    with console.status("exporting") as status:
        return write_artefact(model, clips, out, "fp32", cameras, say=status.update)


def draw(cfg: Config, checkpoint: Path, out: Path) -> list[Any]:
    """Draws the held-out scenes as `bevkit predict` does."""
    from bevkit.cli.predict import draw_scene, scenes_of
    from bevkit.engine.build import build_dataset, load_model

    model, dataset = load_model(cfg, checkpoint), build_dataset(cfg, "test")
    coder, dataset.target_coder = dataset.target_coder, None
    figures: list[Any] = []
    for scene, indices in scenes_of(dataset, dataset.index.split_names[dataset.split], 16):
        figures += draw_scene(scene, dataset, indices, model, coder, out / scene)[0]
    return figures


def write_page(args: argparse.Namespace, scores: dict[str, float], oracle: dict[str, float], export: dict[str, Any],
               figures: list[Any], minutes: dict[str, float]) -> Path:
    from bevkit.cli.doctor import package_rows
    from bevkit.visualization.report import Card, Report, write_report

    def percent(value: float) -> str:
        return f"{value:.1f}"

    near = {name.removeprefix(f"{RANGE}/"): value for name, value in scores.items() if name.startswith(f"{RANGE}/")}
    gain = near["vpq"] - near["copy_last_vpq"]
    rows = []
    for size in sorted({name.split("/")[0] for name in oracle}):
        rows += [dict(contender=f"{size} m: prediction", **named(scores, f"{size}/")),
                 dict(contender=f"{size} m: present held still (copy-last)", **named(scores, f"{size}/copy_last_")),
                 dict(contender=f"{size} m: truth through coder and metric (oracle)", **named(oracle, f"{size}/"))]
    weights = "--from-scratch was asked for, so they were not used" if args.from_scratch else WEIGHTS.name
    return write_report(args.out / "report.html", Report(
        "From six cameras to the next two seconds",
        f"PowerBEV on held-out scenes of a synthetic world (seed {args.seed}), {RANGE} m around the car.",
        [Card("VPQ", percent(near["vpq"]), "present and 2 s of future", strong=True),
         Card("over copy-last", f"{gain:+.1f}", f"the present held still scores {percent(near['copy_last_vpq'])}"),
         Card("IoU", percent(near["iou"]), f"copy-last {percent(near['copy_last_iou'])}"),
         Card("oracle VPQ", percent(oracle[f"{RANGE}/vpq"]), "truth through coder and metric")],
        figures, metrics=rows,
        metrics_note="Percent, pooled over the present and four future frames of every held-out clip.",
        curves=curves_of(args.out / "run"), provenance=[text.format(weights=weights) for text in PROVENANCE],
        export=export, commands=["make demo", f"bevkit demo --seed {args.seed} --scenes {args.scenes}"],
        environment={**{f"{name} (minutes)": round(value, 1) for name, value in minutes.items()},
                     **{row["name"]: row["version"] for row in package_rows() if row.get("version")}}))


def named(scores: dict[str, float], prefix: str) -> dict[str, float]:
    return {name.upper(): round(scores[prefix + name], 2) for name in ("vpq", "iou", "sq", "rq")}


def prefixed(prefix: str, scores: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}/{name}": value for name, value in scores.items()}


def curves_of(work_dir: Path) -> dict[str, list[tuple[float, float]]]:
    """Reads the losses that mmengine logged, over all runs of a work dir that was resumed."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            values = json.loads(line)
            for name in ("loss", "loss_segmentation", "loss_flow"):
                if name in values and "step" in values:
                    curves.setdefault(name, []).append((values["step"], values[name]))
    return curves
