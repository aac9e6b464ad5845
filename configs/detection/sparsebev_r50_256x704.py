"""SparseBEV, ResNet-50, 256x704 images, 900 queries, eight frames.

Published (README of MCG-NJU/SparseBEV, val, backbone from nuImages): NDS 55.6. Measured here: not trained on nuScenes;
see docs/results.md for what was. The authors' weights need the options that `bevkit import-checkpoint` names.

    bevkit train configs/detection/sparsebev_r50_256x704.py --amp fp16
    bevkit test configs/detection/sparsebev_r50_256x704.py CHECKPOINT
    bevkit test configs/detection/sparsebev_r50_256x704.py CHECKPOINT --stream 4    # features of each frame made once
"""

_base_ = ["../_base_/sparsebev.py"]
