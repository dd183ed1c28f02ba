"""The entropy stage: integers in groups become bytes, and the same integers again.

A codec gives every symbol a *group* (its context). All symbols of a group share one static table of integer counts
that travels with them, so nothing is adapted while decoding and a whole group is decoded in one call. The order of
the groups inside a slab does not matter to the decoder, which hands the symbols out as the codec asks for them, pass
by pass.

Leaf package: knows arrays of integers and nothing else.
"""

from .groups import GroupDecoder, encode_groups

__all__ = ["GroupDecoder", "encode_groups"]
