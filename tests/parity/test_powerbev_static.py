"""The authors' single-frame variant: a ResNet-18 decoder and a segmentation head."""

from torch import nn

from bevkit.models.bev_encoders import ResNetUNet
from bevkit.models.heads import SegmentationHead
from tests.parity.powerbev import ANY_GRID, load_translated, no_grad_call, relative_error, turned


def test_static_decoder_gives_the_authors_map(golden):
    data = golden("instance/pb_static_decoder.pt")
    config = data["meta"]["config"]
    encoder = ResNetUNet(ANY_GRID, config["in_channels"], config["resnet_channels"], config["resnet_blocks"])
    parts = nn.ModuleDict(dict(bev_encoder=encoder,
                               head=SegmentationHead(ANY_GRID, encoder.channels, config["n_classes"])))
    load_translated(parts, data["state_dict"], but_for=("log_variance",))

    raw = no_grad_call(parts["head"], no_grad_call(encoder, turned(data["bev"].flatten(0, 1))))

    assert relative_error(turned(raw.segmentation), data["segmentation"]) < 1e-5
