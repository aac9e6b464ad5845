"""Efficient-Instance-Prediction for the synthetic world: powerbev.py with the other head, narrowed as much.

Image encoder, lift, grid, data and training are those of powerbev.py, so that the heads can be compared; for the same
reason the lidar teaches nothing.
Data: `bevkit world data/world --scenes 10 --seed 0`.
Measured here: see docs/results.md.

    bevkit train configs/synthetic/efficient.py
"""

_base_ = ["powerbev.py"]

model = dict(
    head=dict(_delete_=True, type="EfficientPredictionHead", future=4, channels=(16, 24, 32, 48, 64),
              decoder_channels=64, classifier_channels=(64, 64, 32, 32), drop_path=0.0, dropout=0.0,
              coder=dict(type="InstanceFlowCoder", protocol="powerbev", nms_kernel=7),
              segmentation_loss=dict(type="TopKCrossEntropy", class_weights=(1.0, 3.0), ratio=1.0)),
)
