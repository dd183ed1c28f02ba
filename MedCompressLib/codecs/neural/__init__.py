"""The neural codec (FORMAT.md, "Codec neural")."""

from .codec import CODEC, NeuralCodec

__all__ = ["CODEC", "NeuralCodec"]
