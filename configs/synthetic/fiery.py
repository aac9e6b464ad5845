"""FIERY for the synthetic world: image encoder, lift, grid and labels of powerbev.py, so that heads can be compared.

48 m x 48 m in cells of 0.5 m, six cameras of 112x224 pixels, three frames in, two seconds out.
Data: `bevkit world data/world --scenes 10 --seed 0`.
Measured here: see docs/results.md.

    bevkit train configs/synthetic/fiery.py
    bevkit predict configs/synthetic/fiery.py CHECKPOINT --samples 16
"""

_base_ = ["powerbev.py"]

# As in powerbev.py all cells count. The weights let occupancy speak up in a short training.
all_cells = dict(type="TopKCrossEntropy", class_weights=(1.0, 3.0), ratio=1.0)
model = dict(
    temporal=dict(_delete_=True, type="SpatioTemporalFusion", past=2, channels=32, norm_momentum=0.05),
    head=dict(_delete_=True, type="FieryHead", future=4, latent_dim=8, norm_momentum=0.05,
              coder=dict(type="InstanceCenterCoder", protocol="powerbev"),
              decoder=dict(type="ResNetUNet", stages=(32, 48, 64), blocks=(1, 1, 1)),
              predictor=dict(type="ConvGRUPredictor", units=1, bottlenecks=1),
              segmentation_loss=all_cells, segmentation_weight=dict(type="UncertaintyWeight", scale=10.0),
              kl_weight=10.0))
