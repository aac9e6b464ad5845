"""BEVDet4D with HoP small enough for a test: every part of the published models, a fraction of a second a step.

Its scores mean nothing. Data: any small world, `bevkit world data/world --scenes 2 --frames 12`.
"""

_base_ = ["bevdepth.py"]

past = 3
grid = dict(x=(-51.2, 51.2, 3.2), y=(-51.2, 51.2, 3.2), z=(-5.0, 3.0, 8.0))

model = dict(
    frame_encoder=dict(type="ResidualMap", blocks=1), frames_in_graph=2,
    temporal=dict(type="AlignAndStack", past=past - 1, ego_motion=False, order="newest_first"),
    auxiliaries=[dict(type="HistoricalObjectLoss", frames=past - 1, channels=16, heads=(2, 2), ffn_channels=(16, 8),
                      head=dict(type="CenterPointHead", shared_channels=16, branch_channels=8,
                                coder=dict(type="CenterPointCoder")))])
train_dataloader = dict(dataset=dict(past=past, pipeline=[
    dict(type="PastTargets", grid=grid, coder=dict(type="CenterPointCoder"))]))
val_dataloader = dict(dataset=dict(past=past, at_scene_start="repeat"))
test_dataloader = val_dataloader
