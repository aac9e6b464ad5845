"""Efficient-Instance-Prediction in the authors' small size "Tiny", short range: 30 m x 30 m in cells of 0.15 m.

Published (README of miguelag99/Efficient-Instance-Prediction): IoU 57.5, VPQ 52.3. Parameters: 7.42 M published, or
7,425,553, 241,929 of them the frozen frustum and grid. Of "Full" it differs in the channels of the head alone.
Measured here: not trained on nuScenes; see docs/results.md for what was.

    bevkit train configs/prediction/efficient_tiny_short.py --amp fp16
    bevkit test configs/prediction/efficient_tiny_short.py CHECKPOINT
"""

_base_ = ["efficient_short.py"]

model = dict(head=dict(channels=(16, 24, 32, 48, 64)))
