"""Temporal fusion computes what the authors' does: BEVDet4D's shift of a map, FB-BEV's stack of voxels."""

import torch

from bevkit.geometry import rigid
from bevkit.importers.fbbev import translate_fbbev
from bevkit.models.temporal import AlignAndStack, HistoryStack
from bevkit.structures import BEVGrid, EgoMotion
from tests.parity.detection import close


def test_a_past_map_is_shifted_as_in_bevdet4d(golden):
    truth = golden("detection/bevdet4d_shift_feature.pt")
    config, inputs = truth["meta"]["config"], truth["inputs"]
    steps, lows, cells = config["grid_interval"], config["grid_lower_bound"], (config["bev_w"], config["bev_h"])
    axes = [(low, low + count * step, step) for low, step, count in zip(lows, steps, cells)]
    fusion = AlignAndStack(BEVGrid(x=axes[0], y=axes[1]), config["channels"], past=1, ego_motion=False,
                           warp="low_edge", order="newest_first")
    jitter = torch.eye(4, dtype=torch.float64).repeat(config["batch"], 1, 1)
    jitter[:, :3, :3] = inputs["bda"].double()
    # Camera 0 sits alike on the vehicle at both instants: its two poses in the key ego frame say how the ego moved.
    past_from_now = jitter @ inputs["sensor2keyego_curr"][:, 0].double() \
        @ torch.linalg.inv(jitter @ inputs["sensor2keyego_adj"][:, 0].double())
    now = torch.eye(4, dtype=torch.float64).expand_as(past_from_now)
    motion = EgoMotion.of(torch.stack((torch.linalg.inv(past_from_now), now), dim=1))
    present = torch.zeros_like(inputs["feat"])
    fused = fusion(present, inputs["feat"].unsqueeze(1), *fusion.plan(motion))
    ours = fused.unflatten(1, (2, -1))[:, 1]  # the past follows the present
    assert close(ours, truth["outputs"]["shifted"], truth["meta"])


def test_voxels_join_their_history_as_in_fbbev(golden):
    truth = golden("detection/fbbev_history.pt")
    config = truth["meta"]["config"]
    grid = BEVGrid(**{axis: tuple(config["grid_config"][axis]) for axis in "xyz"})
    fusion = HistoryStack(grid, config["channels"] * len(grid.centers("z")), past=config["history_cat_num"],
                          out_channels=config["out_channels"], heights=len(grid.centers("z")), low_edge=True).eval()
    state = {f"history_keyframe_{part}.{name}": value for part, values in truth["state_dict"].items()
             for name, value in values.items()}
    wanted = {f"temporal.{name}": value for name, value in fusion.state_dict().items()}
    translation = translate_fbbev(state, wanted)
    assert not translation.unknown
    fusion.load_state_dict({name.removeprefix("temporal."): value for name, value in translation.state.items()})
    state = torch.zeros(config["batch"], fusion.memory, *grid.shape)
    poses = torch.eye(4, dtype=torch.float64).expand(config["batch"], fusion.past, 4, 4)
    times, last_jitter = torch.zeros(config["batch"], fusion.past, dtype=torch.float64), poses[:, 0]
    for index, (inputs, expected) in enumerate(zip(truth["inputs"], truth["outputs"], strict=True)):
        fresh, moved = inputs["start_of_sequence"], inputs["curr_to_prev_ego_rt"].double()
        # The network's ego frame is the turned one; at a beginning the authors move the copies of the present, too.
        jitter = torch.eye(4, dtype=torch.float64).repeat(config["batch"], 1, 1)
        jitter[:, :3, :3] = inputs["bda"].double()
        before = torch.where(fresh[:, None, None], rigid.inverse(jitter), poses[:, -1])
        last_jitter = torch.where(fresh[:, None, None], jitter, last_jitter)
        now = before @ last_jitter @ moved @ rigid.inverse(jitter)
        time = torch.full_like(times[:, :1], (index + 1) * config["history_cam_sweep_freq"])
        motion = EgoMotion(torch.cat((poses[:, :-1], before[:, None], now[:, None]), dim=1),
                           torch.cat((torch.where(fresh[:, None], time, times), time), dim=1), fresh)
        voxels = inputs["curr"].permute(0, 1, 4, 2, 3).flatten(1, 2)  # [B C Y X Z] -> [B C*Z Y X]
        with torch.no_grad():
            state = torch.where(fresh.view(-1, 1, 1, 1), fusion.begin(voxels), state)
            fused, state = fusion(voxels, state, *fusion.plan(motion))
        poses, times, last_jitter = motion.global_from_ego[:, 1:], motion.timestamps[:, 1:], jitter
        ours = fused.unflatten(1, (-1, fusion.heights)).permute(0, 1, 3, 4, 2)
        assert close(ours, expected, truth["meta"]), index
