"""Streams images through an exported model with ONNX Runtime: what a vehicle's program does, in numpy.

    stream = Stream("export/long/model.onnx", image_from_camera, ego_from_camera)
    for images, pose in drive:
        ids, outputs = stream(images, pose)  # [F+1 Y X]: present and future instance maps

A program with TensorRT keeps `Stream` and gives it another ``run``: a function from named inputs to named outputs.
"""

import json
from pathlib import Path

import numpy as np
from decode import decode, decode_maps
from decode_boxes import decode_center_point, decode_forecast, decode_query_boxes
from decode_centers import decode_centers
from decode_queries import decode_queries
from plan import view_inputs
from plan_motion import temporal_inputs

FORMAT = 3  # of the manifests that this program reads


def onnx_runtime(path):
    """Returns a function that runs an ONNX file: dict of named arrays -> dict of named arrays."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs)))


def decoded(outputs, manifest):
    """Decodes the named outputs of the graph, a stream of one: instance maps, boxes or masks."""
    coder = manifest["decode"]
    if coder.get("type") == "InstanceFlowCoder":
        return decode(outputs["segmentation"][0], outputs["flow"][0], coder["nms_kernel"], coder["center_threshold"],
                      coder["max_centers"])
    if coder.get("type") == "InstanceCenterCoder":
        return decode_centers({name: value[0] for name, value in outputs.items()}, coder)
    if coder.get("type") == "InstanceQueryCoder":
        return decode_queries(outputs["probability"][0], outputs["query"][0], coder["threshold"])
    if coder.get("type") == "CenterPointCoder":
        names = ("heatmap", "offset", "height", "size", "heading", "velocity")
        return decode_center_point({name: outputs[name][0] for name in names}, coder, manifest["grid"])
    if coder.get("type") == "ForecastCoder":
        names = ("heatmap", "offset", "height", "size", "heading", "velocity", "paths", "path_scores")
        return decode_forecast({name: outputs[name][0] for name in names}, coder, manifest["grid"])
    if coder.get("type") == "MapCoder":
        return decode_maps(outputs["maps"][0], coder)
    if coder.get("type") == "QueryBoxCoder":
        return decode_query_boxes({name: outputs[name][:, 0] for name in ("scores", "boxes")}, coder)
    raise ValueError(f"decode: expected InstanceFlowCoder, InstanceCenterCoder, InstanceQueryCoder, CenterPointCoder, "
                     f"ForecastCoder, MapCoder or QueryBoxCoder, got {coder.get('type')}")


class Stream:
    """One scene after another through an exported model.

    What happens to the past, beside `restart`:

    * a gap of more than ``max_gap`` seconds, a clock that runs backwards, or a pose that would take more than
      ``max_speed`` to reach begins a new scene: the past is forgotten, and `began` says why;
    * a missed frame within ``max_gap`` is made up for by poses and times alone: maps are moved by all of the motion,
      and models that read ages or elapsed time read the true ones;
    * an instant sooner than ``keep_every`` seconds after the last one that was kept runs on the past as it is and is
      not kept itself, so that a model trained at 2 Hz finds its past 0.5 s apart also when it runs at 10 Hz (SparseBEV
      says velocities in steps to the newest kept instant, and knows only steps that it met in training: run it at their
      rate);
    * a camera without an image (None) is shown the mean colour of training, which says nothing; with none left the
      instant is refused.

    An instant that fails (a wrong image, an engine that raises, outputs it cannot decode) leaves the past as it was. A
    program that was killed begins a new scene.

    Args:
        onnx_path: model.onnx, its manifest.json beside it.
        image_from_camera: [N 3 3] intrinsics for the images as the network sees them, cameras as in the manifest.
        ego_from_camera: [N 4 4].
        intrinsics: [N 3 3] of the raw images, only for a model whose depth net reads them (``view.camera_aware``).
        run: runs the model; ONNX Runtime by default.
        replan_angle: radians. A model with ``level_ego`` keeps its view plan until pitch or roll has changed by more;
            0 plans anew at each change, as in training. At 0.01 a point 2 m above the ground is at most 2 cm off.
        max_gap: seconds.
        max_speed: metres a second.
        keep_every: seconds; 0 keeps every instant.
    """

    def __init__(self, onnx_path, image_from_camera, ego_from_camera, intrinsics=None, run=None, replan_angle=0.0,
                 max_gap=2.0, max_speed=70.0, keep_every=0.0):
        onnx_path = Path(onnx_path)
        self.manifest = json.loads((onnx_path.parent / "manifest.json").read_text())
        if self.manifest["format"] != FORMAT:
            raise ValueError(f"manifest: expected format {FORMAT}, got {self.manifest['format']}; export again")
        self.rig, self.intrinsics = (image_from_camera, ego_from_camera), intrinsics
        self._check_rig()
        self.run = run or onnx_runtime(onnx_path)
        self.replan_angle, self.max_gap, self.max_speed = replan_angle, max_gap, max_speed
        self.keep_every = keep_every
        self.view, self.up = None, None  # the view plan, and where the sky was when it was made
        self.instants = self.manifest["stream"]["instants"]
        self.kept = {port["name"]: port["shape"] for port in self.manifest["inputs"]
                     if port["name"] in ("past", "memory")}
        self.restart()

    def restart(self):
        """Begins a new scene: forgets the past."""
        self.state, self.poses, self.times = None, None, None
        self.last = None  # pose and time of the last instant, kept or not
        self.began = "the program has restarted the stream"

    def __call__(self, images, global_from_ego, timestamp=None):
        """Runs one instant.

        Args:
            images: [N 3 h w] RGB in 0..255, resized and cropped as in training; or a list of N, None where a camera
                has no image.
            global_from_ego: [4 4], any fixed global frame; float64.
            timestamp: seconds; half a second after the last instant by default.

        Returns:
            what `decoded` makes of the outputs: ids [F+1 Y X] of the present and future instants, 0 = background, or
            boxes; and the named outputs of the graph.

        Raises:
            ValueError: images or pose of another shape, no image at all, or a time that is no number.
        """
        pose = np.asarray(global_from_ego, dtype=np.float64)
        if pose.shape != (4, 4) or not np.isfinite(pose).all():
            raise ValueError(f"global_from_ego: expected finite [4 4], got {list(pose.shape)}")
        if timestamp is None:
            timestamp = 0.0 if self.last is None else self.last[1] + 0.5
        if not np.isfinite(timestamp):
            raise ValueError(f"timestamp: expected seconds, got {timestamp}; leave it out for half a second after the "
                             "last instant")
        images = self._images(images)
        began = self._new_scene(pose, timestamp)
        inputs = {"images": images[None], **self._view(pose)}
        if not self.instants:
            outputs = self.run(inputs)
            result = decoded(outputs, self.manifest)
        else:
            fresh = bool(began) or self.state is None
            if fresh:  # the ego was at rest before, and there was nothing
                poses, times = np.stack([pose] * self.instants), np.full(self.instants, float(timestamp))
                state = {name: np.zeros(shape, dtype=np.float32) for name, shape in self.kept.items()}
            else:
                poses, times, state = self.poses, self.times, self.state
            keep = fresh or timestamp - times[-1] >= self.keep_every - 1e-6
            poses, times = np.concatenate((poses, pose[None])), np.append(times, timestamp)
            motion = temporal_inputs(self.manifest, poses, times, fresh, inputs.get("view_projection"))
            outputs = self.run({**inputs, **state, **motion})
            result = decoded(outputs, self.manifest)  # before anything is kept: it may raise
            if keep:
                self.state = {name: self._keep(name, state[name], outputs[f"new_{name}"], fresh) for name in self.kept}
                self.poses, self.times = poses[1:], times[1:]
        if began:
            self.began = began
        self.last = pose, float(timestamp)
        return result, outputs

    def _keep(self, name, kept, new, fresh):
        """Returns what to hand in at the next instant: past [1 S ..] with the newest [1 1 ..], or the new memory.

        A program on a GPU writes the newest over the oldest and hands in pointers in order, and copies nothing else.
        """
        if name == "memory":
            return new
        if fresh:
            return np.repeat(new, kept.shape[1], axis=1)
        first = self.manifest["stream"]["newest_first"]
        return np.concatenate((new, kept[:, :-1]) if first else (kept[:, 1:], new), axis=1)

    def _check_rig(self):
        cameras = self.manifest["inputs"][0]["shape"][1]
        for name, value, size in (("image_from_camera", self.rig[0], 3), ("ego_from_camera", self.rig[1], 4),
                                  ("intrinsics", self.intrinsics, 3)):
            if value is not None and np.shape(value) != (cameras, size, size):
                raise ValueError(f"{name}: expected [{cameras} {size} {size}], one of each camera of the manifest, "
                                 f"got {list(np.shape(value))}")

    def _images(self, images):
        """Returns [N 3 h w] float32, the mean colour where there is no image."""
        shape = tuple(self.manifest["inputs"][0]["shape"][1:])
        if len(images) != shape[0] or all(image is None for image in images):
            raise ValueError(f"images: expected one of each of {shape[0]} cameras, at least one not None, got "
                             f"{len(images)}")
        whole = np.empty(shape, dtype=np.float32)
        mean = np.asarray(self.manifest["images"]["normalised_inside"]["mean"], dtype=np.float32)
        for place, image in zip(whole, images):
            if image is not None and np.shape(image) != shape[1:]:
                raise ValueError(f"images: expected {list(shape[1:])} of each camera, got {list(np.shape(image))}; "
                                 "resize and crop as in training")
            place[:] = mean[:, None, None] if image is None else image
        return whole

    def _new_scene(self, pose, timestamp):
        """Says why a new scene begins with an instant; empty where the last one goes on."""
        if self.last is None:
            return self.began
        last, before = self.last
        reach, gap = np.linalg.norm(pose[:3, 3] - last[:3, 3]), timestamp - before
        if gap <= 0:
            return f"the clock went from {before:.3f} to {timestamp:.3f} s"
        if gap > self.max_gap:
            return f"nothing was seen for {gap:.2f} s"
        if reach > self.max_speed * gap:
            return f"the pose jumped {reach:.1f} m in {gap:.2f} s"
        return ""

    def _view(self, pose):
        up = pose[2, :3]  # the global z axis in ego axes
        if self.view is None or (self.manifest["level_ego"] and np.linalg.norm(up - self.up) > self.replan_angle):
            self.view, self.up = view_inputs(self.manifest, *self.rig, pose, self.intrinsics), up
        return self.view
