"""MatrixVT for the synthetic world: bevdepth.py with its view transformer.

Measured here: held-out mAP 0.039, docs/results.md.

    bevkit train configs/synthetic/matrixvt.py --checkpoint work_dirs/synthetic_powerbev_static/iter_N.pth --amp bf16
"""

_base_ = ["bevdepth.py"]

model = dict(view_transformer=dict(type="MatrixVT", hidden=64))
