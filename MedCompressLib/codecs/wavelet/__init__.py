"""Codec `wavelet`: reversible 5/3 in three dimensions with fitted contexts."""

from .codec import CODEC, WaveletCodec

__all__ = ["CODEC", "WaveletCodec"]
