"""bevkit predict: draws what a model sees and foresees in a nuScenes scene.

Camera views, and truth against prediction from above, over time or as boxes: a PNG a keyframe, an animation a scene,
and one page with all of them. The cameras show the true boxes, or, with a detector, what it found.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevkit.cli.output import add_json_argument, add_set_argument, console, examples, print_table, write_json

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor

    from bevkit.structures import BEVClip, BEVMaps, Detections3D
    from bevkit.visualization.bev import BEVCanvas
    from bevkit.visualization.report import SceneFigure
    from bevkit.visualization.scenes import ClipPictures

NOTES = {
    "VPQ": "Of each clip, in percent, over the present and the futures on the whole grid. A set of clips is scored by "
           "bevkit test; its scores are not the mean of these.",
    "recall": "Of each keyframe: detections shown, in percent how many of them stand within 2 m of a true box of their "
              "class, and how many of the true boxes on the grid are found so. The official score is bevkit test's.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="bevkit checkpoint")
    parser.add_argument("--dataroot", metavar="DIR", help="folder of the tables and samples (default: the config's)")
    parser.add_argument("--version", help="tables such as v1.0-mini (default: the config's)")
    parser.add_argument("--scene", nargs="+", metavar="NAME", help="scenes to draw (default: the first with a clip)")
    parser.add_argument("--cameras", nargs="+", metavar="NAME", help="channels to use (default: the config's)")
    parser.add_argument("--count", type=int, default=40, metavar="N", help="keyframes a scene at most (default: 40)")
    parser.add_argument("--min-score", type=float, default=0.3, metavar="S",
                        help="a detector's boxes below are not shown (default: 0.3)")
    parser.add_argument("--samples", type=int, default=0, metavar="S",
                        help="also draw S possible futures, where the model knows of several (default: 0)")
    parser.add_argument("--whole-scene", action="store_true", help="also keyframes without a whole past (the first one "
                        "stands in) or a whole future (no truth is shown)")
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help="where the pictures go")
    add_set_argument(parser)
    add_json_argument(parser)
    parser.epilog = examples(
        "bevkit predict configs/prediction/powerbev_long.py model.pth --version v1.0-mini --scene scene-0103",
        "bevkit predict configs/prediction/powerbev_long.py model.pth --scene scene-0103 --whole-scene --out pictures",
        "bevkit predict configs/prediction/powerbev_short.py model.pth --scene scene-0916 --json scores.json",
        "bevkit predict configs/prediction/fiery_long.py model.pth --scene scene-0103 --samples 16")


def run(args: argparse.Namespace) -> int:
    import torch

    from bevkit.engine.build import build_dataset, load_model
    from bevkit.engine.config import load_config
    from bevkit.visualization.report import Report, write_report

    if args.count < 1:
        raise ValueError(f"--count: expected at least 1 keyframe, got {args.count}")
    if args.samples < 0:
        raise ValueError(f"--samples: expected 0 or more possible futures, got {args.samples}")
    cfg = load_config(args.config, args.set)
    choose_data(cfg, args)
    dataset = build_dataset(cfg, "test")
    # Truth is asked for clip by clip below: a clip may have none, and its pictures are wanted all the same.
    coder, dataset.target_coder = dataset.target_coder, None
    model = load_model(cfg, args.checkpoint).to("cuda" if torch.cuda.is_available() else "cpu")
    if args.samples and not (hasattr(model.head, "samples") and model.head.future):
        raise ValueError(f"--samples: expected a model that foresees several futures, such as FIERY, got a "
                         f"{type(model.head).__name__}; leave the option out")
    figures, rows = [], []
    for scene, indices in scenes_of(dataset, bool(args.scene), args.count):
        drawn, scored = draw_scene(scene, dataset, indices, model, coder, args.out / scene, args.min_score,
                                   args.samples)
        figures += drawn
        rows += scored
    scenes = len({row["scene"] for row in rows})
    write_report(args.out / "report.html", Report(
        "What the model sees and foresees", f"{args.checkpoint} on {dataset.version}: {len(rows)} keyframes of "
        f"{scenes} scene{'s' if scenes > 1 else ''}.", cards_of(rows), figures, metrics=rows,
        metrics_note=next((note for name, note in NOTES.items() if rows and name in rows[0]), "")))
    columns = list(rows[0]) if rows else []
    print_table("each clip, scores in percent", columns, [[row[name] for name in columns] for row in rows])
    console.print(f"pictures, animations and the page in {args.out}", highlight=False, soft_wrap=True)
    write_json(args.json, dict(config=str(args.config), checkpoint=str(args.checkpoint), version=dataset.version,
                               clips=rows))
    return 0


def choose_data(cfg: Config, args: argparse.Namespace) -> None:
    """Points the test data set of a config to what the command line asks for."""
    data = cfg.test_dataloader.dataset
    asked = dict(dataroot=args.dataroot, version=args.version, scenes=args.scene, cameras=args.cameras)
    data.update({name: value for name, value in asked.items() if value})
    if args.version or args.scene:
        data.split = None  # a named scene may lie in any split
    if args.whole_scene:
        data.update(at_scene_start="repeat", at_scene_end="unknown")


def scenes_of(dataset: Any, every: bool, count: int) -> Iterator[tuple[str, list[int]]]:
    """Yields scenes, every one or the first, with their clips, evenly thinned to ``count``."""
    import numpy as np

    starts, presents = dataset.index.scene_start, dataset.windows[:, dataset.past - 1]
    numbers = np.searchsorted(starts, presents, side="right") - 1
    for number in np.unique(numbers)[: None if every else 1]:
        clips = np.nonzero(numbers == number)[0]
        chosen = np.unique(np.linspace(0, len(clips) - 1, min(count, len(clips))).round().astype(int))
        yield dataset.index.scene_names[number], clips[chosen].tolist()


def truth_of(clip: BEVClip, coder: Any) -> Tensor | None:
    """Returns the true instances [F+1 Y X] of a clip, None where a frame has no labels."""
    if coder is None or any(frame.boxes is None for frame in clip.frames):
        return None
    return coder.encode(clip)["instance"]


def draw_scene(scene: str, dataset: Any, indices: list[int], model: Any, coder: Any, out: Path, min_score: float = 0.3,
               samples: int = 0) -> tuple[list[SceneFigure], list[dict[str, Any]]]:
    """Predicts and draws clips of one scene: a PNG a keyframe and an animation; returns figures and scores.

    With ``samples`` there is a second PNG a keyframe, of so many possible futures, and the score of the best of them.
    """
    import torch
    from rich.progress import track

    from bevkit.structures import BEVMaps, Detections3D, collate_clips
    from bevkit.visualization.bev import BEVCanvas
    from bevkit.visualization.future import draw_spread
    from bevkit.visualization.paint import save_gif, save_png
    from bevkit.visualization.report import SceneFigure
    from bevkit.visualization.scenes import draw_clip, drive_figure

    canvas = BEVCanvas(model.grid, 597)  # two of them and a gap are as wide as the camera views
    small = BEVCanvas(model.grid, 320)
    views, rows, liveliest, shown = [], [], None, "futures as fading trails"
    spreads: dict[int, Any] = {}
    for index in track(indices, description=scene, console=console):
        clip = dataset[index]
        batch, keyframe = collate_clips([clip]), clip.present.meta["keyframe"]
        prediction = model.predict(**batch)[0].to("cpu")
        if isinstance(prediction, Detections3D):
            view, scores = draw_boxes(clip, prediction, canvas, f"keyframe {keyframe}", min_score)
            shown = "boxes"
        elif isinstance(prediction, BEVMaps):
            view, scores = draw_layers(clip, prediction, coder, canvas, f"keyframe {keyframe}")
            shown = "map"
        else:
            truth = truth_of(clip, coder)
            view = draw_clip(clip, truth, prediction.ids, canvas, f"keyframe {keyframe}")
            scores = scores_of(prediction.ids, truth)
            if samples:
                futures = [future[0].ids.cpu() for future in model.sample_futures(**batch, count=samples)]
                spreads[keyframe] = draw_spread(small, prediction.ids, torch.stack(futures))
                save_png(out / f"{keyframe:03d}_samples.png", spreads[keyframe])
                scores.update(best_of(futures, truth))
            if truth is not None and (liveliest is None or events(truth) > events(liveliest[1])):
                liveliest = (clip, truth, prediction.ids, dict(keyframe=keyframe, **scores))
        views.append(view)
        save_png(out / f"{keyframe:03d}.png", view.joined())
        rows.append(dict(scene=scene, keyframe=keyframe, **scores))
    save_gif(out / "scene.gif", [view.joined() for view in views])
    figures = [drive_figure(scene, views, f"{len(views)} keyframes; each shows its {shown}.")]
    if liveliest is not None:
        figures.append(draw_futures(scene, *liveliest, canvas, out))
    if spreads:
        keyframe = next(iter(spreads)) if liveliest is None else liveliest[-1]["keyframe"]
        figures.append(SceneFigure(f"{scene}, keyframe {keyframe}: possible futures", strip=spreads[keyframe],
                                   note=f"{samples} drawn: how many of them see a cell occupied, and each by itself."))
    return figures, rows


def draw_futures(scene: str, clip: BEVClip, truth: Tensor, prediction: Tensor, row: dict[str, Any], canvas: BEVCanvas,
                 out: Path) -> SceneFigure:
    """Draws the futures of one keyframe instant by instant."""
    from bevkit.visualization.paint import save_png
    from bevkit.visualization.scenes import horizon_figure

    figure = horizon_figure(f"{scene}, keyframe {row['keyframe']}", clip, truth, prediction, canvas,
                            note="The liveliest keyframe: from its present into its futures.",
                            scores={name: row[name] for name in ("VPQ", "IoU")})
    if figure.strip is not None:
        save_png(out / f"{row['keyframe']:03d}_futures.png", figure.strip)
    return figure


def draw_boxes(clip: BEVClip, found: Detections3D, canvas: BEVCanvas, name: str, min_score: float
               ) -> tuple[ClipPictures, dict[str, float | None]]:
    """Draws the surer detections of a keyframe; returns the pictures, and how many there are and how many are right."""
    from bevkit.structures import Detections3D
    from bevkit.visualization.detections import draw_detections, matches

    sure = found.scores >= min_score
    found, truth = Detections3D(found.boxes[sure], found.scores[sure]), clip.present.boxes
    scores: dict[str, float | None] = dict(boxes=len(found.scores), precision=None, recall=None)
    if truth is not None:
        truth = truth[(truth.labels >= 0) & (truth.sensor_points != 0) & canvas.grid.contains(truth.centers[:, :2])]
        right = int(matches(found, truth).sum())
        scores.update(precision=100 * right / len(found.scores) if len(found.scores) else None,
                      recall=100 * right / len(truth) if len(truth) else None)
    return draw_detections(clip, found, canvas, name), scores


def draw_layers(clip: BEVClip, found: BEVMaps, coder: Any, canvas: BEVCanvas, name: str
                ) -> tuple[ClipPictures, dict[str, float | None]]:
    """Draws the map layers of a keyframe; returns the pictures and the IoU of each layer in percent."""
    from bevkit.metrics.segmentation import count_segmentation
    from bevkit.visualization.map_layers import draw_map_layers

    truth = None if coder is None or clip.present.boxes is None else coder.encode(clip)["maps"] > 0.5
    scores: dict[str, float | None] = {f"IoU {layer}": None for layer in found.layers}
    if truth is not None:
        for layer, *pair in zip(found.layers, found.inside, truth):
            if (pair[0] | pair[1]).any():
                scores[f"IoU {layer}"] = 100 * float(count_segmentation(*pair).iou[1])
    return draw_map_layers(clip, found.inside, truth, found.layers, canvas, name), scores


def events(truth: Tensor) -> int:
    """Returns how many cells change hands during a clip [F+1 Y X]: how much happens in it."""
    return int((truth[1:] != truth[:-1]).sum())


def scores_of(prediction: Tensor, truth: Tensor | None) -> dict[str, float | None]:
    """Returns VPQ and IoU of vehicles in one clip [F+1 Y X] in percent, None without truth or where there is none."""
    from bevkit.metrics.panoptic import count_panoptic
    from bevkit.metrics.segmentation import count_segmentation

    if truth is None or not ((truth > 0) | (prediction > 0)).any():
        return dict(VPQ=None, IoU=None)
    return dict(VPQ=100 * float(count_panoptic(prediction, truth).panoptic_quality[1]),
                IoU=100 * float(count_segmentation(prediction > 0, truth > 0).iou[1]))


def best_of(futures: Sequence[Tensor], truth: Tensor | None) -> dict[str, float | None]:
    """Returns the best VPQ in percent among possible futures [F+1 Y X] of a clip, None likewise."""
    found = [value for value in (scores_of(future, truth)["VPQ"] for future in futures) if value is not None]
    return {f"best VPQ of {len(futures)}": max(found, default=None)}


def cards_of(rows: list[dict[str, Any]]) -> list[Any]:
    """Returns the mean scores as cards of the page, none where no clip has a score."""
    from bevkit.visualization.report import Card

    names = [name for name in (rows[0] if rows else ()) if name not in ("scene", "keyframe", "boxes")]
    scored = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    return [Card(f"mean {name} of a clip", f"{sum(values) / len(values):.1f}", "percent, whole grid")
            for name, values in scored.items() if values]
