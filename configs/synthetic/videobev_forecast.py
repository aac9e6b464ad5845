"""Forecasts on the synthetic world: videobev.py, and where each object goes in the next three seconds.

Measured here: on the kept maps of bevdepth.py, docs/results.md; not trained as a whole.

    bevkit train configs/synthetic/videobev_forecast.py --checkpoint work_dirs/synthetic_bevdepth/iter_N.pth --amp bf16
"""

_base_ = ["videobev.py"]

steps = 6

model = dict(head=dict(type="ForecastHead", guesses=3, coder=dict(type="ForecastCoder", steps=steps)))
train_dataloader = dict(dataset=dict(future=steps, at_scene_end="unknown"))
val_dataloader = dict(dataset=dict(future=steps, at_scene_end="unknown"))
test_dataloader = val_dataloader
val_evaluator = [dict(type="NuScenesDetectionMetric"), dict(type="ForecastMetric", steps=steps)]
test_evaluator = val_evaluator
