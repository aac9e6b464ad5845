"""FIERY small enough for a test: every part of the published model, a tenth of a second a step on one CPU core.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["powerbev.py"]

model = dict(
    temporal=dict(_delete_=True, type="SpatioTemporalFusion", past=2, channels=8, norm_momentum=0.05),
    head=dict(_delete_=True, type="FieryHead", future=4, latent_dim=4, norm_momentum=0.05,
              decoder=dict(type="ResNetUNet", stages=(8, 12, 16), blocks=(1, 1, 1)),
              predictor=dict(type="ConvGRUPredictor", units=2, bottlenecks=1),
              coder=dict(type="InstanceCenterCoder", protocol="fiery")),
)
