"""FipTR-T: Swin-T, 256x704 images, lift and splat, 100 m x 100 m in cells of 0.5 m, 2 s of future on nuScenes.

Published (README of TabGuigui/FipTR), 30 m x 30 m / 100 m x 100 m: IoU 59.0 / 36.7, VPQ 53.4 / 33.6 on 8 GPUs in 24
hours; 60.3 / 38.2 and 54.0 / 34.3 with synchronised batch norm (``--set sync_bn=torch``). Parameters: 72.0 M published,
of which the head with its network on the map has 36.5 M.
Measured here: not trained on nuScenes; see docs/results.md for what was.

    bevkit train configs/prediction/fiptr_lss.py --amp fp16
    bevkit test configs/prediction/fiptr_lss.py CHECKPOINT

Class-balanced over the vehicles, with synchronised batch norm: IoU 60.7 / 38.3, VPQ 55.4 / 36.1, in 70 hours.

    bevkit train configs/prediction/fiptr_lss.py --amp fp16 --set train_dataloader.sampler.type=ClassBalancedSampler \\
        train_dataloader.sampler.classes=[car,truck,bus,trailer,construction_vehicle,motorcycle,bicycle] \\
        sync_bn=torch model.head.coder.threshold=0.35
"""

_base_ = ["../_base_/fiptr.py"]

model = dict(
    view_transformer=dict(type="LiftSplat", channels=64, depth=(1.0, 60.0, 1.0), image_size=(256, 704)),
    temporal=dict(type="SpatioTemporalFusion", past=2, channels=64, residual=True),
)
# In training what a scene does not show is what its end or beginning shows.
train_dataloader = dict(dataset=dict(at_scene_start="repeat", at_scene_end="repeat"))
# FIERY's way to score 30 m x 30 m: the middle of this map.
val_evaluator = dict(ranges={"100x100": None, "30x30": (15.0, 15.0)})
test_evaluator = val_evaluator
