"""FIERY with BEVerse's motion modules: each future map is the one before it, warped and updated; chance has a place.

The sizes are BEVerse's (Zhang et al., 2022: 256 channels), so that the motion modules of its checkpoints fit
(``bevkit import-checkpoint --system beverse_motion --partial``); of its training the weight of the divergence is taken,
the other losses are FIERY's. Published with BEVerse's own image encoder and fusion
(README of zhangyp15/BEVerse): tiny IoU 38.7, VPQ 33.3, small IoU 40.9, VPQ 36.1 on 100 m x 100 m.
Measured here: not trained on nuScenes.

    bevkit train configs/prediction/fiery_flow_warp.py --amp fp16
"""

_base_ = ["fiery_long.py"]

model = dict(
    temporal=dict(channels=256),
    head=dict(distribution=dict(type="LatentDistribution", stages=2, spatial=True),
              predictor=dict(type="FlowWarpPredictor"), kl_weight=10.0))
