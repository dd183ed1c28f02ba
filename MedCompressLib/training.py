"""Train a model for the neural codec on scans of one's own protocol.

    from MedCompressLib.training import train
    report = train("site.mcmodel", [volume, ...])
    mc.compress(volume, codec="neural", model="site.mcmodel")

The scheme is the local sampling of Nagoor et al. (ICIP 2020): a few whole slices of each scan are enough. Some slices
are held back; on them the gain is measured, and training stops when it no longer grows.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from .codecs.blas import one_thread_blas
from .codecs.neural.experts import fit_experts
from .codecs.neural.fitting import sample_slices, sample_taps
from .codecs.neural.model_file import Model, pack_model, shipped_model
from .codecs.neural.neighbourhood import neighbourhood
from .codecs.neural.predictor import Predictor
from .codecs.neural.presets import EXPERT_STEP_BITS, PRESETS
from .codecs.neural.training import Samples, code_length, initial_weights, to_float, to_integer
from .codecs.neural.training import train as train_network
from .errors import UnsupportedError
from .replacing import replacing
from .samples import SampleMap
from .volume import Volume

SLICES = 10
"""Whole slices of each scan that are trained on (Nagoor et al., ICIP 2020)."""

HELD_SLICES = 3
_ROUNDS = 12
_PATIENCE = 3
_MOST_VOXELS = 250_000     # of one scan
_BATCH = 1024


@dataclass(frozen=True)
class TrainingReport:
    """What came out, on slices that were not trained on; bits a voxel, voxels of flat regions not counted.

    Attributes
    ----------
    before : float
        With the shipped model.
    after : float
        With the new one.
    steps : int
        Taken until the best round.
    samples : int
        Voxels trained on.
    """

    before: float
    after: float
    steps: int
    samples: int

    @property
    def gain_percent(self) -> float:
        """How much smaller, in percent of the bits before."""
        return 100 * (1 - self.after / self.before)


def train(path: str | os.PathLike, volumes: Sequence[Volume], preset: str = "default", steps: int = 6000,
          seed: int = 0, anew: bool = False, overwrite: bool = False,
          progress: Callable[[float], None] | None = None) -> TrainingReport:
    """Train a model on scans and write it as a `.mcmodel` file.

    Parameters
    ----------
    path : path-like
        Of the model file; written at the end, in one move.
    volumes : sequence of Volume
        At least one with four slices or more.
    preset : str
        The preset of the neural codec that the model is for: "default", "fast" or "small".
    steps : int
        At most so many; training stops before when the held-back slices no longer gain.
    seed : int
        Same scans, same seed, same machine: same model.
    anew : bool
        Start from chance instead of from the shipped model.
    overwrite : bool
        Replace a file that is there.
    progress : callable, optional
        Called with a fraction in [0, 1]; may raise to cancel.

    Returns
    -------
    TrainingReport

    Raises
    ------
    UnsupportedError
        No such preset, too few slices, or steps below 1.
    """
    if preset not in PRESETS:
        raise UnsupportedError(f"There is no preset {preset!r} to train for; use one of {', '.join(PRESETS)}.")
    if steps < 1:
        raise UnsupportedError(f"Training needs at least one step, not {steps}.")
    report_progress = progress or (lambda fraction: None)
    settings, rng = PRESETS[preset], np.random.default_rng(seed)
    shipped = shipped_model(settings.model).network
    with one_thread_blas():
        pieces = []
        for number, volume in enumerate(volumes):
            pieces.append(_samples_of(volume, preset, rng))
            report_progress(0.2 * (number + 1) / len(volumes))
        if not any(len(held) for _, held in pieces):
            raise UnsupportedError("There is nothing to train on: give scans of at least four slices that are not "
                                   "constant.")
        used, held = (Samples.join([piece[part] for piece in pieces]) for part in (0, 1))
        before = code_length(to_float(shipped), held)
        layers = initial_weights([shipped.n_inputs, *settings.hidden, 2], rng) if anew else to_float(shipped)
        best, best_bits, best_steps, last_round = layers, code_length(layers, held), 0, 0
        for number in range(_ROUNDS):
            share = max(1, steps // _ROUNDS)
            rate = (4e-3 if anew else 2e-3) * 0.5 * (1 + np.cos(np.pi * number / _ROUNDS)) + 1e-5
            layers = train_network(layers, used, share, _BATCH, rate, seed + number,
                                   lambda part, done=number: report_progress(0.2 + 0.8 * (done + part) / _ROUNDS),
                                   constant_rate=True)
            bits = code_length(to_float(to_integer(layers)), held)
            if bits < best_bits:
                best, best_bits, best_steps, last_round = layers, bits, share * (number + 1), number
            elif number - last_round >= _PATIENCE:
                break
    report = TrainingReport(before, best_bits, best_steps, len(used))
    description = {"radii": [list(radius) for radius in settings.radii], "inputs": settings.n_inputs,
                   "residuals": settings.n_residuals, "preset": preset, "seed": seed, "scans": len(volumes),
                   "trained": datetime.date.today().isoformat(), "report": asdict(report)}
    with replacing(path, overwrite) as file:
        file.write(pack_model(Model(to_integer(best), description)))
    report_progress(1.0)
    return report


def _samples_of(volume: Volume, preset: str, rng: np.random.Generator) -> tuple[Samples, Samples]:
    """Samples of random slices of one scan to train on, and of others to be held back."""
    settings = PRESETS[preset]
    voxels = volume.as_frames()
    samples = SampleMap.fit([voxels])
    slab = samples.forward(voxels)[0]
    near = neighbourhood(settings.radii, settings.n_inputs, settings.n_residuals, slab.shape[0] > 1)
    experts = fit_experts(sample_taps([slab], near, settings.expert_samples, rng, samples.maximum), near,
                          settings.classes, EXPERT_STEP_BITS)
    predictor = Predictor(near, experts, shipped_model(settings.model).network, samples.maximum)
    planes = [(f, k) for f in range(slab.shape[0]) for k in range(slab.shape[1])]
    order = rng.permutation(len(planes))
    n_held = min(HELD_SLICES, len(planes) // 4)
    parts = (order[n_held:n_held + SLICES], order[:n_held])
    used, held = (sample_slices(slab, predictor, [planes[index] for index in np.sort(part)], _MOST_VOXELS, rng)
                  for part in parts)
    return used, held
