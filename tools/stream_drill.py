"""Streams a whole scene in every way there is: do all see the same, does memory stay, can one begin anywhere?

    python tools/stream_drill.py configs/synthetic/videobev.py CHECKPOINT --dataroot data/held_out --json stream.json

* The scene as clips, each with all its past at once, against PyTorch instant by instant (a recurrent model at some
  keyframes, as its clips grow with the scene).
* PyTorch instant by instant against the exported graph in ONNX Runtime and against the vehicle's program, and what both
  decode: boxes or maps.
* The vehicle's program over many instants, scene after scene: resident memory must stop growing.
* The vehicle's program begun in the middle of the scene, as one that was killed and started again is: it must go on as
  a scene that begins there.

The cameras are taken to be mounted as at the first keyframe: a vehicle plans its view once. The exit status is 1 where
the export did not pass or a way is more than 1e-3 off.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "deploy"))

import torch
from stream import Stream
from torch import Tensor

from bevkit.cli.benchmarks import machine
from bevkit.cli.output import print_table
from bevkit.engine.build import build_dataset, load_model, use_data
from bevkit.engine.config import load_config
from bevkit.export.artefact import TOLERANCE, write_artefact
from bevkit.export.graph import inputs_of, instants_of, next_state
from bevkit.export.parity import OnnxStep, Parity
from bevkit.export.vehicle import vehicle_decoder
from bevkit.files import write_atomically
from bevkit.models.architectures import Architecture
from bevkit.structures import BEVBatch, collate_clips

Raw = dict[str, Tensor]


def scene_of(config: Any, name: str | None) -> BEVBatch:
    """Loads a whole scene as one clip, with the mounting of its first keyframe."""
    data = config.test_dataloader.dataset
    data.update(past=1, future=0, at_scene_start="skip", split=None, target_coder=None, scenes=[name] if name else None)
    scenes = build_dataset(config, "test")
    if name is None:
        data.scenes = [scenes.index.scene_names[int(scenes.clip_scenes()[0])]]
    data.past = int((scenes.clip_scenes() == scenes.clip_scenes()[0]).sum())
    clip = collate_clips([build_dataset(config, "test")[0]])["batch"]
    mounted = clip.rig.map(lambda tensor: tensor[:, :1].expand_as(tensor))
    return replace(clip, rig=mounted)


def part_of(scene: BEVBatch, frames: list[int]) -> BEVBatch:
    """Returns keyframes of a scene as a clip."""
    return replace(scene, images=scene.images[:, frames], rig=scene.rig[:, frames],
                   global_from_ego=scene.global_from_ego[:, frames], timestamps=scene.timestamps[:, frames],
                   boxes=[[row[index] for index in frames] for row in scene.boxes],
                   meta=[[row[index] for index in frames] for row in scene.meta])


def streamed(model: Architecture, scene: BEVBatch) -> tuple[list[Raw], list[Any]]:
    """Runs PyTorch instant by instant; returns raw outputs and what they are decoded to."""
    state, found, results = None, [], []
    for instant in instants_of(scene):
        raw, state = model.stream(model.data_preprocessor({"batch": instant})["batch"], state)
        found.append(model.exported_raw(raw)._asdict())
        results += model.head.predict(raw)
    return found, results


def decoded_alike(path: Path, outputs: list[Raw], results: list[Any]) -> str:
    """Says how much of what the vehicle decodes of its outputs is what PyTorch decodes of its own."""
    decode, parity = vehicle_decoder(path), Parity()
    assert decode is not None  # deploy/ lies beside
    for one, result in zip(outputs, results, strict=True):
        parity.add_results(result, decode(one), None)
    what, count = ("boxes", parity.boxes) if parity.boxes else ("cells", parity.cells)
    return f"{count - parity.unequal_boxes - parity.unequal_cells} of {count} {what} alike"


def remembers(model: Architecture) -> bool:
    """Whether an instant depends on all before it, and not only on the last ones."""
    return bool(model.memory) or getattr(model, "recurrent", False)


def as_clips(model: Architecture, scene: BEVBatch, at: list[int]) -> dict[int, Raw]:
    """Runs keyframes with their past in one clip; where a scene begins its first keyframe stands in."""
    found = {}
    for last in at:
        if remembers(model):
            frames = list(range(last + 1))
        else:
            frames = [max(index, 0) for index in range(last - model.past, last + 1)]
        clip = model.data_preprocessor({"batch": part_of(scene, frames)})["batch"]
        found[last] = model.exported_raw(model(clip, mode="tensor"))._asdict()
    return found


def in_onnx_runtime(model: Architecture, path: Path, scene: BEVBatch) -> list[Raw]:
    step, twin, state, found = OnnxStep(path), model.exportable(), None, []
    for instant in instants_of(scene):
        inputs, motion = inputs_of(twin, instant, state)
        outputs = step(inputs)
        state = next_state(twin, inputs, outputs, motion)
        found.append(outputs)
    return found


def vehicle_for(path: Path, scene: BEVBatch) -> Stream:
    rig = scene.rig.flatten()[0]
    return Stream(path, rig.image_from_camera.numpy(), rig.ego_from_camera.numpy(), rig.intrinsics.numpy())


def in_the_vehicle(path: Path, scene: BEVBatch, first: int = 0) -> list[Raw]:
    vehicle, found = vehicle_for(path, scene), []
    for instant in list(instants_of(scene))[first:]:
        _, outputs = vehicle(instant.images[0, 0].numpy(), instant.global_from_ego[0, 0].numpy(),
                             float(instant.timestamps))
        found.append({name: torch.from_numpy(value) for name, value in outputs.items()})
    return found


def farthest(ours: list[Raw], theirs: list[Raw]) -> float:
    """Returns the largest difference over the largest value, of any output at any instant."""
    worst: dict[str, float] = defaultdict(float)
    for one, other in zip(ours, theirs, strict=True):
        for name in one.keys() & other.keys():
            if not other[name].is_floating_point():
                continue  # names, of which none is near another
            scale = max(float(other[name].abs().max()), 1e-12)
            error = float((one[name] - other[name]).abs().max()) / scale
            worst[name] = max(worst[name], error if math.isfinite(error) else math.inf)  # max() would drop a NaN
    return max(worst.values())


def megabytes() -> float:
    """Returns the resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def remembered(path: Path, scene: BEVBatch, count: int) -> list[float]:
    """Runs the vehicle's program over so many instants, scene after scene; memory after each tenth of them."""
    vehicle, instants, memory = vehicle_for(path, scene), list(instants_of(scene)), []
    for index in range(count):
        instant = instants[index % len(instants)]
        vehicle(instant.images[0, 0].numpy(), instant.global_from_ego[0, 0].numpy(), float(instant.timestamps))
        if (index + 1) % max(count // 10, 1) == 0:
            memory.append(megabytes())
    return memory


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("checkpoint", nargs="?", help="without one the weights are random")
    parser.add_argument("--dataroot", metavar="DIR")
    parser.add_argument("--version")
    parser.add_argument("--scene", metavar="NAME", help="default: the first")
    parser.add_argument("--instants", type=int, default=1000, metavar="N", help="of the memory test")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    config = load_config(args.config)
    use_data(config, dataroot=args.dataroot, version=args.version)
    torch.manual_seed(0)
    model = load_model(config, args.checkpoint)
    model.exportable()  # a model that cannot be exported says so before data are read
    scene = scene_of(config, args.scene)
    count = scene.past
    some = {0, 1, 5, count // 2, count - 1} if remembers(model) else set(range(count))
    at = sorted(index for index in some if index < count)
    with tempfile.TemporaryDirectory() as folder:
        report = write_artefact(model, [part_of(scene, list(range(min(2, count))))], Path(folder), with_tensorrt=False)
        path = Path(folder) / "model.onnx"
        torch_side, results = streamed(model, scene)
        clips = as_clips(model, scene, at)
        middle = count // 2
        restarted = in_the_vehicle(path, scene, middle)
        begun, _ = streamed(model, part_of(scene, list(range(middle, count))))
        driven = in_the_vehicle(path, scene)
        decoded = decoded_alike(path, driven, results)
        rows = {
            "clips": farthest(list(clips.values()), [torch_side[index] for index in at]),
            "ONNX Runtime": farthest(in_onnx_runtime(model, path, scene), torch_side),
            "vehicle": farthest(driven, torch_side),
            "vehicle, begun in the middle": farthest(restarted, begun),
        }
        memory = remembered(path, scene, args.instants)
    print_table(f"{args.config}: {count} keyframes of {scene.meta[0][0]['scene_name']}, against PyTorch as a stream",
                ("way", "relative error"), list(rows.items()))
    print(f"decoded by the vehicle and by PyTorch: {decoded}")
    print(f"memory after each tenth of {args.instants} instants, MiB: " + "  ".join(f"{one:.0f}" for one in memory))
    if args.json:
        write_atomically(args.json, json.dumps(dict(
            machine=machine(), config=args.config, checkpoint=args.checkpoint, keyframes=count, errors=rows,
            decoded=decoded, clips_at=at, memory=memory, exported=report["passed"]), indent=1))
    return int(not report["passed"] or max(rows.values()) > TOLERANCE["fp32"])


if __name__ == "__main__":
    sys.exit(main())
