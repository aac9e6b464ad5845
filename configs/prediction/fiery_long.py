"""FIERY, long range: 100 m x 100 m in cells of 0.5 m, 2 s of future on nuScenes.

Published (README of wayveai/fiery): IoU 36.7, VPQ 29.9 on 100 m x 100 m; (paper) IoU 59.4, VPQ 50.2 on the middle
30 m x 30 m of the same maps. Parameters: 8.37 M published, 241,929 of them frozen geometry.
Measured here: not trained on nuScenes; see docs/results.md for what was.

    bevkit train configs/prediction/fiery_long.py --amp fp16 --checkpoint work_dirs/fiery_single_frame/iter_N.pth
    bevkit test configs/prediction/fiery_long.py CHECKPOINT
    bevkit predict configs/prediction/fiery_long.py CHECKPOINT --samples 16
"""

_base_ = ["../_base_/fiery.py"]

model = dict(grid=dict(x=(-50.0, 50.0, 0.5), y=(-50.0, 50.0, 0.5), z=(-10.0, 10.0, 20.0)))
val_evaluator = dict(ranges={"100x100": None, "30x30": (15.0, 15.0)})
test_evaluator = val_evaluator
