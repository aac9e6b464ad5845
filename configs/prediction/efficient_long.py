"""Efficient-Instance-Prediction, "Full", long range: 100 m x 100 m in cells of 0.5 m, 2 s of future on nuScenes.

Published: a configuration, without numbers in the README. Parameters as efficient_short.
Measured here: not trained on nuScenes; see docs/results.md for what was.

    bevkit train configs/prediction/efficient_long.py --amp fp16
    bevkit test configs/prediction/efficient_long.py CHECKPOINT
"""

_base_ = ["../_base_/efficient.py"]

model = dict(grid=dict(x=(-50.0, 50.0, 0.5), y=(-50.0, 50.0, 0.5), z=(-10.0, 10.0, 20.0)))
# FIERY's way to score 30 m x 30 m: the middle of this map. The authors' own way is efficient_short.py.
val_evaluator = dict(ranges={"100x100": None, "30x30": (15.0, 15.0)})
test_evaluator = val_evaluator
