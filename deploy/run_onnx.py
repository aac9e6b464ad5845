"""Streams images through an exported model with ONNX Runtime: what a vehicle's program does, in numpy.

    stream = Stream("export/long/model.onnx", image_from_camera, ego_from_camera)
    for images, pose in drive:
        ids, outputs = stream(images, pose)  # [F+1 Y X]: present and future instance maps

A program with TensorRT keeps `Stream` and gives it another ``run``: a function from named inputs to named outputs.
"""

import json
from pathlib import Path

import numpy as np
from decode import decode
from decode_boxes import decode_center_point, decode_query_boxes
from plan import view_inputs
from plan_motion import temporal_inputs


def onnx_runtime(path):
    """Returns a function that runs an ONNX file: dict of named arrays -> dict of named arrays."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs)))


def decoded(outputs, manifest):
    """Decodes the named outputs of the graph, a stream of one: instance maps, or (boxes, scores, class names)."""
    coder = manifest["decode"]
    if coder.get("type") == "InstanceFlowCoder":
        return decode(outputs["segmentation"][0], outputs["flow"][0], coder["nms_kernel"], coder["center_threshold"],
                      coder["max_centers"])
    if coder.get("type") == "CenterPointCoder":
        names = ("heatmap", "offset", "height", "size", "heading", "velocity")
        return decode_center_point({name: outputs[name][0] for name in names}, coder, manifest["grid"])
    if coder.get("type") == "QueryBoxCoder":
        return decode_query_boxes({name: outputs[name][:, 0] for name in ("scores", "boxes")}, coder)
    raise ValueError(f"decode: expected InstanceFlowCoder, CenterPointCoder or QueryBoxCoder, got {coder.get('type')}")


class Stream:
    """One scene after another through an exported model.

    Args:
        onnx_path: model.onnx, its manifest.json beside it.
        image_from_camera: [N 3 3] intrinsics for the images as the network sees them, cameras as in the manifest.
        ego_from_camera: [N 4 4].
        intrinsics: [N 3 3] of the raw images, only for a model whose depth net reads them (``view.camera_aware``).
        run: runs the model; ONNX Runtime by default.
        replan_angle: radians. A model with ``level_ego`` keeps its view plan until pitch or roll has changed by more;
            0 plans anew at each change, as in training. At 0.01 a point 2 m above the ground is at most 2 cm off.
    """

    def __init__(self, onnx_path, image_from_camera, ego_from_camera, intrinsics=None, run=None, replan_angle=0.0):
        onnx_path = Path(onnx_path)
        self.manifest = json.loads((onnx_path.parent / "manifest.json").read_text())
        self.run = run or onnx_runtime(onnx_path)
        self.rig, self.intrinsics = (image_from_camera, ego_from_camera), intrinsics
        self.replan_angle = replan_angle
        self.view, self.up = None, None  # the view plan, and where the sky was when it was made
        self.kept = {port["name"]: port["shape"] for port in self.manifest["inputs"]
                     if port["name"] in ("past", "memory")}
        self.restart()

    def restart(self):
        """Begins a new scene: forgets the past. Call it after a jump in the pose or a gap in the images."""
        self.state, self.poses, self.times = {}, None, None

    def __call__(self, images, global_from_ego, timestamp=None):
        """Runs one instant.

        Args:
            images: [N 3 h w] RGB in 0..255, resized and cropped as in training.
            global_from_ego: [4 4], any fixed global frame; float64.
            timestamp: seconds; half a second after the last instant by default.

        Returns:
            what `decoded` makes of the outputs: ids [F+1 Y X] of the present and future instants, 0 = background, or
            boxes; and the named outputs of the graph.
        """
        pose = np.asarray(global_from_ego, dtype=np.float64)
        inputs = {"images": np.ascontiguousarray(images, dtype=np.float32)[None], **self._view(pose)}
        if self.manifest["stream"]["instants"]:
            inputs.update(self._past(pose, timestamp))
        outputs = self.run(inputs)
        self.state = {name: outputs[f"new_{name}"] for name in self.kept}
        return decoded(outputs, self.manifest), outputs

    def _view(self, pose):
        up = pose[2, :3]  # the global z axis in ego axes
        if self.view is None or (self.manifest["level_ego"] and np.linalg.norm(up - self.up) > self.replan_angle):
            self.view, self.up = view_inputs(self.manifest, *self.rig, pose, self.intrinsics), up
        return self.view

    def _past(self, pose, timestamp):
        """Returns what was kept and the temporal plan, and moves poses and times on by one instant."""
        fresh, instants = self.poses is None, self.manifest["stream"]["instants"]
        if timestamp is None:
            timestamp = 0.0 if fresh else self.times[-1] + 0.5
        if fresh:  # the ego was at rest before, and there was nothing
            self.poses, self.times = np.stack([pose] * instants), np.full(instants, float(timestamp))
            self.state = {name: np.zeros(shape, dtype=np.float32) for name, shape in self.kept.items()}
        poses, times = np.concatenate((self.poses, pose[None])), np.append(self.times, timestamp)
        self.poses, self.times = poses[1:], times[1:]
        return {**self.state, **temporal_inputs(self.manifest, poses, times, fresh)}
