"""Train the two models of the codec nagoor, as their paper did: on ten whole slices of one volume.

    python Testing/training/nagoor_models.py VOLUME PRESET [--steps N] [--output FILE]

VOLUME is a CT (see docs/model_card.md), PRESET pyramid or cube. Loss MAE + (1 - |PCC|), stochastic gradient descent
with momentum 0.9, batches of random voxels of the ten slices. Needs PyTorch. The network is trained as it will be:
weights and activations are rounded in the forward pass, and the gradient passes through it (straight-through). What the
paper does not say is how training starts; here with a least-squares prediction that some units carry (docs/nagoor.md).
"""

from __future__ import annotations

import argparse
import datetime
import math
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from MedCompressLib import read
from MedCompressLib.codecs.nagoor.codec import CENTRE
from MedCompressLib.codecs.nagoor.model_file import MODELS, Model, pack_model
from MedCompressLib.codecs.nagoor.neighbourhood import NEIGHBOURHOODS, Canvas
from MedCompressLib.codecs.nagoor.network import (
    ACTIVATION_ONE,
    EXACT,
    INPUT_ONE,
    LARGEST,
    SLOPE_BITS,
    SMALLEST,
    WEIGHT_ONE,
    LeakyNetwork,
    partial_sum_bound,
    shifts,
)
from MedCompressLib.samples import SampleMap

HIDDEN = (1024, 512, 256, 128)
N_SLICES = 10
BATCH, MOMENTUM = 256, 0.9
RATE, LAST_RATE = 8e-6, 1e-6
PAIRS, SHARES, FITTED = 32, (8, 7, 7, 12), 40_000
STEPS = {"pyramid": 700, "cube": 500}


def chosen_slices(n: int) -> list[int]:
    """Ten of n slices: the first four, so that the network meets what lies outside a slab, and six spread evenly."""
    return [0, 1, 2, 3, *np.linspace(4, n - 1, N_SLICES - 4).round().astype(int).tolist()]


class Slices:
    """Ten slices of a volume, every voxel of which is a sample."""

    def __init__(self, samples: np.ndarray, preset: str):
        neighbourhood = NEIGHBOURHOODS[preset]
        self._canvas = Canvas((1, *samples.shape), neighbourhood, -CENTRE, np.float32)
        self._taps = self._canvas.offsets(neighbourhood.taps)
        self._targets = samples.ravel().astype(np.float32) - CENTRE
        self._canvas.inside[:] = samples - CENTRE
        slices = np.array(chosen_slices(len(samples)))
        self.voxels = (slices[:, None] * samples[0].size + np.arange(samples[0].size)).ravel()

    def batch(self, voxels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, n_taps) inputs and (n,) targets between -1 and 1."""
        inputs = self._canvas.cells[self._taps + self._canvas.places(voxels)].T
        return torch.from_numpy(inputs / INPUT_ONE), torch.from_numpy(self._targets[voxels] / INPUT_ONE)


def rounded(values: torch.Tensor, one: int, low: int, high: int) -> torch.Tensor:
    """To multiples of 1 / one from low / one to high / one; the gradient passes through where nothing is cut off."""
    clipped = values.clamp(low / one, high / one)
    return clipped + ((clipped * one).round() / one - clipped).detach()


def forward(layers: list[tuple[torch.Tensor, torch.Tensor]], inputs: torch.Tensor) -> torch.Tensor:
    """(n,) predictions of (n, n_taps) inputs, with everything rounded as in `LeakyNetwork` but the output."""
    for number, (weights, biases) in enumerate(layers):
        inputs = torch.nn.functional.linear(inputs, rounded(weights, WEIGHT_ONE, -127, 127), biases)
        if number < len(layers) - 1:
            clipped = inputs.clamp(SMALLEST / ACTIVATION_ONE, LARGEST / ACTIVATION_ONE)
            inputs = rounded(torch.nn.functional.leaky_relu(clipped, 2.0**-SLOPE_BITS), ACTIVATION_ONE,
                             SMALLEST, LARGEST)
    return inputs[:, 0]


def loss(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean absolute error and how much Pearson's correlation coefficient falls short of 1."""
    p, t = predictions - predictions.mean(), targets - targets.mean()
    correlation = (p * t).sum() / (p.norm() * t.norm() + 1e-9)
    return (predictions - targets).abs().mean() + 1 - correlation.abs()


def initial(sizes: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Random weights that keep the variance of what they are given; the inputs, which are much alike, count as one."""
    layers = []
    for number, (n_in, n_out) in enumerate(pairwise(sizes)):
        gain = math.sqrt(2 / (1 + 4.0**-SLOPE_BITS)) if number else 1.0
        layers.append((torch.randn(n_out, n_in).mul_(gain / math.sqrt(n_in)).requires_grad_(),
                       torch.zeros(n_out, requires_grad=True)))
    return layers


def carry(layers: list[tuple[torch.Tensor, torch.Tensor]], linear: np.ndarray, rng: np.random.Generator) -> None:
    """Let the first units of every layer carry a linear prediction, and the others have no say yet.

    A value v goes through a layer as leaky(v) and leaky(-v), whose difference is a multiple of v. Many pairs of units
    do the same, each with other biases and so with other errors of rounding.

    Parameters
    ----------
    linear : (n_taps + 1,)
        Weights of the taps, then what is added, between -1 and 1.
    """
    signs = np.tile([1.0, -1.0], PAIRS)
    gain = 1 / np.prod([share / WEIGHT_ONE * PAIRS * (1 + 2.0**-SLOPE_BITS) for share in SHARES])
    for number, (weights, biases) in enumerate(layers):
        weights, biases = weights.detach().numpy(), biases.detach().numpy()
        here = weights[:2 * PAIRS] if number < len(SHARES) else weights
        if number == 0:
            sums = np.cumsum(gain * signs[:, None] * linear[:-1], axis=1) * WEIGHT_ONE
            steps = np.floor(sums + rng.uniform(0, 1, (2 * PAIRS, 1)))        # their rounding errors cancel out
            here[:] = np.diff(steps, axis=1, prepend=0) / WEIGHT_ONE
            biases[:2 * PAIRS] = gain * signs * linear[-1]
        else:
            here[:] = 0
            here[:, :2 * PAIRS] = (signs[:, None] if len(here) > 1 else 1) * signs * SHARES[number - 1] / WEIGHT_ONE
            biases[:2 * PAIRS] = 0
        if number < len(SHARES):
            biases[:2 * PAIRS] += rng.uniform(-0.5, 0.5, 2 * PAIRS) / ACTIVATION_ONE


def least_squares(slices: Slices, rng: np.random.Generator) -> np.ndarray:
    """(n_taps + 1,) weights of the linear prediction of least mean square error, re-weighted towards least absolute."""
    inputs, targets = (part.numpy().astype(float) for part in slices.batch(rng.choice(slices.voxels, FITTED)))
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    weights = np.ones(len(inputs))
    for _ in range(3):
        gram = (inputs * weights[:, None]).T @ inputs
        linear = np.linalg.solve(gram + 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram)),
                                 inputs.T @ (weights * targets))
        errors = np.abs(targets - inputs @ linear)
        weights = 1 / np.maximum(errors, 0.5 * errors.mean())
        print(f"least squares: mean absolute error {errors.mean() * INPUT_ONE:.2f}", flush=True)
    print(f"least squares: largest weight {np.abs(linear).max():.2f}")
    return linear.astype(np.float32)


def to_integer(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> LeakyNetwork:
    """Rounded to the fixed point, with the half unit that turns rounding down into rounding to nearest."""
    weights, biases = [], []
    for number, ((layer, bias), shift) in enumerate(zip(layers, shifts(len(layers)), strict=True)):
        one = WEIGHT_ONE * (ACTIVATION_ONE if number else INPUT_ONE)
        weights.append(np.rint(layer.detach().numpy() * WEIGHT_ONE).clip(-127, 127).astype(np.int8))
        biases.append(np.rint(bias.detach().numpy() * one).astype(np.int32) + (1 << shift - 1))
    return LeakyNetwork(tuple(weights), tuple(biases))


@torch.no_grad()
def keep_exact(layers: list[tuple[torch.Tensor, torch.Tensor]]) -> int:
    """Shrink rows whose sums could leave float32's exact range; how many there were."""
    changed = 0
    for number, (layer, bias) in enumerate(layers):
        integers = (layer * WEIGHT_ONE).round().numpy()
        one = WEIGHT_ONE * (ACTIVATION_ONE if number else INPUT_ONE)
        bound = partial_sum_bound(integers, np.rint(bias.numpy() * one), number == 0)
        factor = np.minimum(1, 0.97 * EXACT / np.maximum(bound, 1))
        layer *= torch.from_numpy(factor[:, None].astype(np.float32))
        changed += int((factor < 1).sum())
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volume", type=Path)
    parser.add_argument("preset", choices=NEIGHBOURHOODS)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    torch.set_num_threads(1)
    started, steps = time.process_time(), options.steps or STEPS[options.preset]
    voxels = read(options.volume).as_frames()
    samples = SampleMap.fit([voxels])
    if samples.maximum >= 2 * CENTRE:
        raise SystemExit("The volume needs more than 12 bits; train on another.")
    slices = Slices(samples.forward(voxels)[0][0], options.preset)
    layers = initial([len(NEIGHBOURHOODS[options.preset].taps), *HIDDEN, 1])
    carry(layers, least_squares(slices, rng), rng)
    optimiser = torch.optim.SGD([part for layer in layers for part in layer], RATE, MOMENTUM)
    averages = []
    for step in range(steps):
        decay = (LAST_RATE / RATE) ** (step / steps)
        optimiser.param_groups[0]["lr"] = RATE * decay * min(1, (step + 1) / 200)
        inputs, targets = slices.batch(rng.choice(slices.voxels, BATCH))
        predictions = forward(layers, inputs)
        optimiser.zero_grad()
        loss(predictions, targets).backward()
        optimiser.step()
        averages.append(float((predictions.detach() - targets).abs().mean()) * INPUT_ONE)
        if step % 20 == 19:
            shrunk = keep_exact(layers)
        if step % 100 == 99:
            print(f"step {step + 1}: mean absolute error {np.mean(averages[-100:]):.2f}, {shrunk} rows held, "
                  f"{time.process_time() - started:.0f} s", flush=True)
    network = to_integer(layers)
    description = {"preset": options.preset, "volume": options.volume.stem, "steps": steps, "batch": BATCH,
                   "trained": datetime.date.today().isoformat(), "error": round(float(np.mean(averages[-100:])), 3)}
    output = options.output or MODELS / f"{options.preset}.mcmodel"
    output.write_bytes(pack_model(Model(network, description)))
    print(f"{output}: {network.sha256}, {time.process_time() - started:.0f} s of processor time")


if __name__ == "__main__":
    main()
