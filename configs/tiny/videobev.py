"""VideoBEV small enough for a test: every part of the published model, a fraction of a second a step on one CPU core.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["bevdepth.py"]

model = dict(temporal=dict(_delete_=True, type="RecurrentMemory", time_channels=4), frames_in_graph=2)
train_dataloader = dict(dataset=dict(past=3))
val_dataloader = dict(dataset=dict(past=3, at_scene_start="repeat"))
test_dataloader = val_dataloader
