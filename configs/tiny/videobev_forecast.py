"""VideoBEV with forecasts, small enough for a test. Its scores mean nothing; data as in bevdepth.py."""

_base_ = ["videobev.py"]

steps = 2

model = dict(head=dict(type="ForecastHead", guesses=2, coder=dict(type="ForecastCoder", steps=steps)))
train_dataloader = dict(dataset=dict(future=steps, at_scene_end="unknown"))
val_dataloader = dict(dataset=dict(future=steps, at_scene_end="unknown"))
test_dataloader = val_dataloader
val_evaluator = [dict(type="NuScenesDetectionMetric"), dict(type="ForecastMetric", steps=steps)]
test_evaluator = val_evaluator
