"""Recurrent fusion (VideoBEV) for the synthetic world: bevdepth.py with one memory, four keyframes a training clip.

Measured here: its fusion on the kept maps of bevdepth.py, docs/results.md; not trained as a whole.

    bevkit train configs/synthetic/videobev.py --checkpoint work_dirs/synthetic_powerbev_static/iter_N.pth --amp bf16
"""

_base_ = ["bevdepth.py"]

past = 4

model = dict(temporal=dict(type="RecurrentMemory", time_channels=8), frames_in_graph=2)
train_dataloader = dict(batch_size=3, dataset=dict(past=past))
val_dataloader = dict(dataset=dict(past=past, at_scene_start="repeat"))
test_dataloader = val_dataloader
