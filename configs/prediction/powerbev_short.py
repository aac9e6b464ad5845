"""PowerBEV, short range: 30 m x 30 m in cells of 0.15 m, a model of its own, 2 s of future on nuScenes.

Published (README of EdwardLeeLPZ/PowerBEV): IoU 62.5, VPQ 55.5 with static pre-training. Parameters as powerbev_long.
Measured here: not trained on nuScenes; see docs/results.md for what was.

    bevkit train configs/prediction/powerbev_short.py --amp fp16
    bevkit test configs/prediction/powerbev_short.py CHECKPOINT
"""

_base_ = ["../_base_/powerbev.py"]

model = dict(grid=dict(x=(-15.0, 15.0, 0.15), y=(-15.0, 15.0, 0.15), z=(-10.0, 10.0, 20.0)))
val_evaluator = dict(ranges={"30x30": None})
test_evaluator = val_evaluator
