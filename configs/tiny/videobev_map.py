"""VideoBEV with map layers, small enough for a test. Its scores mean nothing; data as in bevdepth.py."""

_base_ = ["videobev.py"]

model = dict(temporal=dict(time_channels=0),
             head=dict(_delete_=True, type="MapHead", hidden=8, coder=dict(type="MapCoder")))
train_dataloader = dict(dataset=dict(raster_maps=True))
val_dataloader = dict(dataset=dict(raster_maps=True))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type="MapMetric")
test_evaluator = val_evaluator
