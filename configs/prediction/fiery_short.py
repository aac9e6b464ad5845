"""FIERY on PowerBEV's short grid: 30 m x 30 m in cells of 0.15 m, a model of its own, 2 s of future on nuScenes.

FIERY's published short-range scores (IoU 59.4, VPQ 50.2) are not of such a model: they are read off the middle of the
long one's map, as fiery_long.py does. This one is for a comparison with powerbev_short.py on equal terms; set
``model.head.coder.protocol="powerbev"`` for equal labels too.
Measured here: not trained on nuScenes.

    bevkit train configs/prediction/fiery_short.py --amp fp16
    bevkit test configs/prediction/fiery_short.py CHECKPOINT
"""

_base_ = ["../_base_/fiery.py"]

model = dict(grid=dict(x=(-15.0, 15.0, 0.15), y=(-15.0, 15.0, 0.15), z=(-10.0, 10.0, 20.0)))
val_evaluator = dict(ranges={"30x30": None})
test_evaluator = val_evaluator
