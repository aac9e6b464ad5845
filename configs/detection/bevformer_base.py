"""BEVFormer-base: ResNet-101, 900x1600 images, a map of 200 x 200 cells, four scales, three past keyframes.

Published (README of fundamentalvision/BEVFormer, ResNet-101-DCN): NDS 51.7, mAP 41.6. Measured here: not trained on
nuScenes; see docs/results.md for what was. The authors' map stands around the lidar: with their weights set the grid to
x=(-50.26, 52.14, 0.512), z=(-3.16, 4.84, 8.0); their backbone finds no place in timm's: its
convolutions are deformable and it strides in the 1x1 ones.

    bevkit train configs/detection/bevformer_base.py --amp fp16
    bevkit test configs/detection/bevformer_base.py CHECKPOINT --stream
"""

_base_ = ["../_base_/bevformer.py"]

train_dataloader = dict(dataset=dict(at_scene_start="repeat"))
