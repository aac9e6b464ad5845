"""bevkit look: draws data and labels of a config before training.

Camera views with boxes projected through the augmented rig, boxes and targets from above, and a table of ranges.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bevkit.cli.output import add_json_argument, add_set_argument, console, examples, print_table, write_json

if TYPE_CHECKING:
    from bevkit.structures import BEVClip, BEVGrid
    from bevkit.visualization.paint import Picture
    from bevkit.visualization.report import SceneFigure

NOTE = ("The input frames after augmentation, with boxes projected through the augmented rig: a box beside its object "
        "means a wrong rig. From above, forward is up, left is left, rings are metres. Colours mark tracks.")
IGNORE = 255  # flow that no loss reads


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="config file")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train",
                        help="which data set of the config, with its augmentation (default: train)")
    parser.add_argument("--count", type=int, default=4, metavar="N", help="clips to draw, spread evenly (default: 4)")
    parser.add_argument("--out", type=Path, default=Path("look"), metavar="DIR", help="where the pictures go")
    add_set_argument(parser)
    add_json_argument(parser)
    parser.epilog = examples(
        "bevkit look configs/prediction/powerbev_long.py --out look",
        "bevkit look configs/synthetic/powerbev.py --split val --count 8",
        "bevkit look configs/synthetic/bevdepth.py  # depth labels, heat maps",
        "bevkit look configs/tiny/powerbev.py --set train_dataloader.dataset.split=None")


def run(args: argparse.Namespace) -> int:
    import numpy as np
    from rich.progress import track

    from bevkit.engine.build import build_dataset, build_model
    from bevkit.engine.config import load_config
    from bevkit.structures import BEVGrid
    from bevkit.visualization.report import Report, write_report

    if args.count < 1:
        raise ValueError(f"--count: expected at least 1 clip, got {args.count}")
    cfg = load_config(args.config, args.set)
    grid = BEVGrid(**cfg.model.grid) if "grid" in cfg.model else build_model(cfg).grid
    dataset = build_dataset(cfg, args.split)
    figures, stats = [], []
    indices = np.unique(np.linspace(0, len(dataset) - 1, args.count).round().astype(int)).tolist()
    for index in track(indices, description="drawing", console=console):
        clip = dataset[index]
        figures.append(draw(clip, grid, f"clip {index}", args.out))
        stats.append(facts(clip, grid))
    summary = summarise(stats)
    subtitle = f"{args.config}, {args.split}: {len(dataset)} clips, {len(figures)} drawn."
    write_report(args.out / "report.html", Report(
        "Data and labels, as training sees them", subtitle, scenes=figures, scenes_note=NOTE,
        metrics=[dict(quantity=name, **values) for name, values in summary.items()],
        metrics_note="Over the clips drawn."))
    print_table(f"{args.split}: {len(dataset)} clips, {len(figures)} looked at", ["quantity", "low", "mean", "high"],
                [[name, *values.values()] for name, values in summary.items()])
    console.print(f"pictures and the page in {args.out}", highlight=False, soft_wrap=True)
    write_json(args.json, dict(config=str(args.config), split=args.split, clips=len(dataset), drawn=indices,
                               quantities=summary))
    return 0


def draw(clip: BEVClip, grid: BEVGrid, name: str, out: Path) -> SceneFigure:
    """Draws one clip: writes its PNGs and returns a figure that steps through its input frames."""
    from bevkit.visualization import bev
    from bevkit.visualization.paint import class_colors, column, row, save_png, titled
    from bevkit.visualization.report import SceneFigure
    from bevkit.visualization.scenes import camera_view, depth_view

    canvas = bev.BEVCanvas(grid, 400)
    views = [view for view in map(camera_view, clip.inputs) if view is not None]
    boxes = []
    for frame in clip.inputs:
        image = bev.ground(canvas)
        if frame.boxes is not None:
            bev.draw_boxes(image, canvas, frame.boxes, class_colors(frame.boxes.labels.numpy()))
        boxes.append(bev.draw_ego(image, canvas))
    targets = target_pictures(clip, canvas)
    maps = row([titled(image, title) for title, image in [("boxes", boxes[-1]), *targets]])
    stem = name.replace(" ", "_")
    if "depth" in clip.targets:
        depths = depth_view(clip.present, clip.targets["depth"][-1])
        maps = maps if depths is None else column([titled(depths, "depth labels: near warm, far cold"), maps])
    save_png(out / f"{stem}.png", column([*views[-1:], maps]))
    shown = targets[0][1] if targets else bev.draw_ego(bev.ground(canvas), canvas)
    meta = clip.present.meta
    times = [f"{frame.timestamp - clip.present.timestamp:+.1f} s" for frame in clip.inputs]
    note = f"{meta.get('scene_name', '')}, keyframe {meta.get('keyframe', '?')}; each input frame in its own ego frame."
    return SceneFigure(name, views, [(image, shown) for image in boxes], times, note, maps, seconds=0.8,
                       labels=("Boxes", f"Targets: {targets[0][0]}" if targets else "No targets on the map"))


def target_pictures(clip: BEVClip, canvas: Any) -> list[tuple[str, Picture]]:
    """Draws the targets on the map, as far as their names are known: instance, segmentation, flow; heatmap, foreground.

    Those of the future are aligned at their end: the last label frame is the last future.
    """
    from bevkit.visualization import bev
    from bevkit.visualization.future import draw_trails
    from bevkit.visualization.scenes import ids_by_track

    futures = len(clip.frames) - clip.past + 1  # the present counted
    found, ids = [], None
    if "instance" in clip.targets:
        ids = clip.targets["instance"][-futures:].numpy()
        found.append(("instances", draw_trails(canvas, ids_by_track(clip, ids, canvas.grid))))
    if "segmentation" in clip.targets:
        share = (clip.targets["segmentation"][-futures:] == 1).double().mean(dim=0)  # [Y X] how long a cell is taken
        found.append(("segmentation, share of time", bev.draw_ego(
            bev.draw_heat(bev.ground(canvas), canvas, share.numpy()), canvas)))
    if "flow" in clip.targets:
        flow = clip.targets["flow"][-futures:]
        step = min(1, len(flow) - 1)
        valid = (flow[step] != IGNORE).all(dim=0).numpy()
        if ids is not None:
            valid &= ids[step] > 0
        picture = bev.draw_flow(bev.ground(canvas), canvas, flow[step].numpy(), valid,
                                ids=None if ids is None else ids[step])
        found.append(("flow, to the first future" if step else "flow, to the present", bev.draw_ego(picture, canvas)))
    for name, title in (("heatmap", "heat maps, all classes"), ("foreground", "foreground")):
        if name in clip.targets:
            highest = clip.targets[name].amax(dim=0).numpy()  # [K Y X] -> [Y X]
            found.append((title, bev.draw_ego(bev.draw_heat(bev.ground(canvas), canvas, highest), canvas)))
    return found


def facts(clip: BEVClip, grid: BEVGrid) -> dict[str, list[float]]:
    """Collects the numbers of one clip whose ranges show what is wrong, by name."""
    import torch

    from bevkit.geometry import rigid

    present, values = clip.present, {}
    if present.images is not None and present.rig is not None:
        axes = present.rig.ego_from_camera[:, :2, 2].double()
        values["image brightness, 0..255"] = present.images.float().mean(dim=(1, 2, 3)).tolist()
        values["image contrast (deviation)"] = present.images.float().flatten(1).std(dim=1).tolist()
        values["focal length in pixels"] = present.rig.image_from_camera[:, 0, :2].norm(dim=1).tolist()
        values["camera heading in degrees, left +"] = torch.rad2deg(torch.atan2(axes[:, 1], axes[:, 0])).tolist()
        values["camera height in metres"] = present.rig.ego_from_camera[:, 2, 3].tolist()
    poses = clip.global_from_ego
    steps = rigid.inverse(poses[:-1]) @ poses[1:]
    values["ego step forward in metres"] = steps[:, 0, 3].tolist()
    values["ego turn in degrees, left +"] = torch.rad2deg(rigid.yaw_of(steps)).tolist()
    times = [frame.timestamp for frame in clip.frames]
    values["time step in seconds"] = [later - sooner for sooner, later in zip(times[:-1], times[1:])]
    for frame in clip.frames:
        if frame.boxes is not None:
            boxes = frame.boxes
            inside = grid.contains(boxes.centers[:, :2])
            for name, numbers in {
                "boxes a frame": [len(boxes)], "vehicles on the grid a frame": [int((inside & boxes.vehicle).sum())],
                "box distance in metres": boxes.centers[:, :2].norm(dim=1).tolist(),
                "box height above ground in metres": (boxes.centers[:, 2] - boxes.sizes[:, 2] / 2).tolist(),
                "vehicle length in metres": boxes.sizes[boxes.vehicle, 0].tolist(),
                "speed in m/s": [speed for speed in boxes.velocities.norm(dim=1).tolist() if speed == speed],
                "boxes of visibility 1, share": (boxes.visibility == 1).double().tolist(),
            }.items():
                values.setdefault(name, []).extend(numbers)
    return values | target_facts(clip)


def target_facts(clip: BEVClip) -> dict[str, list[float]]:
    """Collects the ranges of the encoded targets."""
    values = {}
    if "segmentation" in clip.targets:
        values["target: occupied share of cells"] = (clip.targets["segmentation"] == 1).double().mean(
            dim=(-2, -1)).flatten().tolist()
    if "depth" in clip.targets:
        depth = clip.targets["depth"]
        values["target: depth in metres"] = depth[depth > 0].tolist()
        values["target: share of patches with a depth"] = (depth > 0).double().mean(dim=(-2, -1)).flatten().tolist()
    if "heatmap" in clip.targets:
        values["target: peaks of the heat maps"] = [float((clip.targets["heatmap"] == 1).sum())]
    if "instance" in clip.targets:
        values["target: instances a frame"] = [float((ids.unique() > 0).sum()) for ids in clip.targets["instance"]]
    if "flow" in clip.targets:
        flow = clip.targets["flow"]
        valid = (flow != IGNORE).all(dim=-3)
        values["target: flow length in cells"] = flow.norm(dim=-3)[valid & (flow != 0).any(dim=-3)].tolist()
        values["target: share of cells that teach flow"] = valid.double().mean(dim=(-2, -1)).flatten().tolist()
    return values


def summarise(stats: list[dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Joins the numbers of all clips to (low, mean, high) a quantity; a quantity without numbers is left out."""
    joined: dict[str, list[float]] = {}
    for clip in stats:
        for name, numbers in clip.items():
            joined.setdefault(name, []).extend(map(float, numbers))
    return {name: dict(low=min(numbers), mean=sum(numbers) / len(numbers), high=max(numbers))
            for name, numbers in joined.items() if numbers}
