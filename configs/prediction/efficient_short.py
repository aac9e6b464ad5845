"""Efficient-Instance-Prediction, "Full", short range: 30 m x 30 m in cells of 0.15 m, 2 s of future on nuScenes.

Published (README of miguelag99/Efficient-Instance-Prediction): IoU 59.1, VPQ 53.7. Parameters: 13.46 M published, or
13,464,193, 241,929 of them the frozen frustum and grid. The authors' later configuration has the head's reductions at
(8, 4, 2, 1, 1), with 12,659,457; the report of `bevkit import-checkpoint` says which ones weights have.
Measured here: not trained on nuScenes; see docs/results.md for what was.

    bevkit train configs/prediction/efficient_short.py --amp fp16
    bevkit test configs/prediction/efficient_short.py CHECKPOINT
"""

_base_ = ["../_base_/efficient.py"]

model = dict(grid=dict(x=(-15.0, 15.0, 0.15), y=(-15.0, 15.0, 0.15), z=(-10.0, 10.0, 20.0)))
val_evaluator = dict(ranges={"30x30": None})
test_evaluator = val_evaluator
