"""What the FIERY parity tests share: models built from a reference file's config, weights through the importer."""

from torch import Tensor, nn

from bevkit.importers.fiery import translate_beverse_motion, translate_fiery
from tests.parity.powerbev import floats, lifting_config


def fiery_config(config: dict) -> dict:
    """The config of DenseBEV, without its type, for a reference file's config, with the numerics of the authors."""
    return lifting_config(config) | dict(
        temporal=dict(type="SpatioTemporalFusion", past=config["time_receptive_field"] - 1,
                      channels=config["start_out_channels"], ego_motion=config["input_egopose"], warp="fiery"),
        head=dict(type="FieryHead", future=config["n_future_frames"], latent_dim=config["latent_dim"],
                  classes=config["n_classes"], raw_labels=True, norm_momentum=config["bn_momentum"],
                  distribution=distribution_config(config),
                  predictor=dict(type="ConvGRUPredictor", units=config["n_gru_blocks"],
                                 bottlenecks=config["n_res_layers"])))


def distribution_config(config: dict, **options) -> dict:
    return dict(type="LatentDistribution", log_sigma_limits=(config["min_log_sigma"], config["max_log_sigma"]),
                **options)


def load_translated(model: nn.Module, state: dict[str, Tensor], beverse: bool = False) -> None:
    """Loads the authors' entries through the importer; every entry of both sides must find its partner."""
    translation = (translate_beverse_motion if beverse else translate_fiery)(floats(state), model.state_dict())
    assert translation.unknown == []
    model.load_state_dict(translation.state)
