"""Parallel fusion (BEVDet4D) for the synthetic world: bevdepth.py, the last map beside the present one.

Measured here: its fusion on the kept maps of bevdepth.py, docs/results.md; not trained as a whole.

    bevkit train configs/synthetic/bevdet4d.py --checkpoint work_dirs/synthetic_powerbev_static/iter_N.pth --amp bf16
"""

_base_ = ["bevdepth.py"]

model = dict(temporal=dict(type="AlignAndStack", past=1, ego_motion=False, order="newest_first"), frames_in_graph=1,
             frame_encoder=dict(type="ResidualMap", blocks=1))
train_dataloader = dict(batch_size=4, dataset=dict(past=2))
val_dataloader = dict(dataset=dict(past=2, at_scene_start="repeat"))
test_dataloader = val_dataloader
