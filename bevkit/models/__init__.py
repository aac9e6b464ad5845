"""Networks and their parts; importing this package fills the MODELS registry."""

from bevkit.models import (
    architectures,
    auxiliaries,
    bev_encoders,
    coders,
    future,
    heads,
    image,
    temporal,
    view_transformers,
)

__all__ = ["architectures", "auxiliaries", "bev_encoders", "coders", "future", "heads", "image", "temporal",
           "view_transformers"]
