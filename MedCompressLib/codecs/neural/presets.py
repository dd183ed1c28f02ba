"""The presets of the neural codec: how far it looks, how large its network is, how long the encoder adapts it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Settings of the encoder; only what shapes the decoder (radii, n_inputs) travels in the file.

    Attributes
    ----------
    summary : str
        For the user.
    model : str
        Shipped model that it starts from.
    radii : tuple of (radius, reach to the east)
        See `neighbourhood`.
    n_inputs : int
        Taps that feed the network.
    n_residuals : int
        Places in the slice whose residuals are looked at.
    hidden : tuple of int
        Widths of the network's hidden layers.
    classes : int
        Linear experts in each surrounding, at most.
    expert_samples : int
        Voxels that each set of experts is fitted to, at most.
    tuning_steps, tuning_batch : int
        How the network is fine-tuned on the volume; no steps: not at all.
    rounds, round_voxels : int
        How often new voxels are taken to fine-tune on, and how many.
    voxels_a_step : int
        Smaller volumes get fewer steps, one for so many voxels.
    """

    summary: str
    model: str
    radii: tuple[tuple[int, int], ...]
    n_inputs: int
    n_residuals: int
    hidden: tuple[int, ...]
    classes: int
    expert_samples: int
    tuning_steps: int
    tuning_batch: int
    rounds: int
    round_voxels: int
    voxels_a_step: int


EXPERT_STEP_BITS = 4
"""Expert weights are multiples of 2**4 / 2**14."""

VOXELS_A_CLASS = 20_000
"""Smaller volumes get fewer experts: each must pay for its weights."""

MIN_STEPS = 20
"""Fine-tuning for fewer steps is left out."""

PRESETS = {
    "default": Preset("small files at a practical speed", "default", ((5, 3), (3, 3), (1, 1)), 30, 14, (64, 64, 32), 12,
                      200_000, 3000, 1536, 6, 400_000, 1500),
    "fast": Preset("the fastest of the neural presets", "fast", ((3, 2), (2, 2)), 18, 6, (32, 16), 8,
                   100_000, 0, 0, 0, 0, 1),
    "small": Preset("the smallest files; the encoder adapts the network to the volume for a minute or two", "small",
                    ((6, 4), (4, 4), (2, 2), (0, 0)), 40, 24, (128, 64, 64), 16, 400_000,
                     16000, 1024, 10, 350_000, 160),
}
