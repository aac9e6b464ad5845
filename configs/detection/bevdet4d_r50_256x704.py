"""BEVDet4D-Depth, ResNet-50, 256x704 images, 128 x 128 cells, two keyframes.

Published (as the authors' README has it for the tiny Swin of the same pair): BEVDet 30.8 mAP, 40.4 NDS, BEVDet4D 33.8,
47.6. Measured here: not trained on nuScenes; see docs/results.md for what was. `bevkit import-checkpoint --system
bevdet` names the options that the authors' weights need.

    bevkit train configs/detection/bevdet4d_r50_256x704.py --amp fp16
    bevkit test configs/detection/bevdet4d_r50_256x704.py CHECKPOINT
"""

_base_ = ["../_base_/bevdet4d.py"]

train_dataloader = dict(dataset=dict(at_scene_start="repeat"))
