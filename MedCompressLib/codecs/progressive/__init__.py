"""Codec `progressive`: the wavelet codec's transform and contexts in layers, so that every prefix is a preview."""

from .codec import CODEC, ProgressiveCodec

__all__ = ["CODEC", "ProgressiveCodec"]
