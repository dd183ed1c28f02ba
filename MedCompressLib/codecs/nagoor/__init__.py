"""The codec nagoor: the two models of Nagoor et al. 2020, in integers (FORMAT.md, "Codec nagoor")."""

from .codec import CODEC, NagoorCodec

__all__ = ["CODEC", "NagoorCodec"]
