"""Train the models that come with the neural codec.

    python Testing/training/shipped_models.py DATA PRESET [--leave NAME ...]

DATA is the folder with `train/*.nrrd` (see docs/model_card.md). From each volume a crop of at most 24 slices is taken,
as it is, mirrored or turned, and with fewer grey levels; 120 000 voxels of each, not counting flat ones, with the
linear experts fitted to that very variant, are what the network is trained on. The network that was shipped so far
stays beside the new one, named after its date, for the files that were written with it. `--leave` keeps volumes out
whose name contains NAME, for leave-one-scanner-out figures; then `--output` should name another file.
"""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from MedCompressLib import read
from MedCompressLib.codecs.blas import one_thread_blas
from MedCompressLib.codecs.neural.experts import fit_experts
from MedCompressLib.codecs.neural.fitting import InputSampler, sample_taps
from MedCompressLib.codecs.neural.model_file import SHIPPED, Model, pack_model, unpack_model
from MedCompressLib.codecs.neural.neighbourhood import neighbourhood
from MedCompressLib.codecs.neural.network import IntegerNetwork
from MedCompressLib.codecs.neural.predictor import Predictor, n_network_inputs
from MedCompressLib.codecs.neural.presets import EXPERT_STEP_BITS, PRESETS, Preset
from MedCompressLib.codecs.neural.training import Samples, code_length, initial_weights, to_float, to_integer, train
from MedCompressLib.samples import SampleMap

MOST_SLICES, MOST_FRAMES = 24, 6
VOXELS = 120_000
STEPS = {"fast": 400_000, "default": 400_000, "small": 35_000}
RATE, BATCH = 4e-3, 1024


def variants(slab: np.ndarray) -> Iterator[np.ndarray]:
    """A (frames, k, j, i) slab as it is, turned, with fewer grey levels, and mirrored in depth and rows."""
    yield slab
    yield slab.transpose(0, 1, 3, 2)[..., ::-1]
    yield slab >> 2 if slab.max() > 700 else (slab + 1) >> 1
    yield slab[:, ::-1, ::-1]


def crop(slab: np.ndarray) -> np.ndarray:
    """At most 6 frames and 24 slices, from the middle of volumes of more than 48."""
    start = (slab.shape[1] - MOST_SLICES) // 2 if slab.shape[1] > 48 else 0
    return slab[:MOST_FRAMES, start:start + MOST_SLICES]


def samples_of(slab: np.ndarray, settings: Preset) -> Samples:
    """Network inputs of random blocks of rows of one slab."""
    rng = np.random.default_rng(5)
    near = neighbourhood(settings.radii, settings.n_inputs, settings.n_residuals, slab.shape[0] > 1)
    taps = sample_taps([slab], near, min(15_000 * settings.classes, slab.size), rng, int(slab.max()))
    experts = fit_experts(taps, near, settings.classes, EXPERT_STEP_BITS)
    unused = IntegerNetwork((np.zeros((2, n_network_inputs(near) + 1), np.int16),))
    samples = InputSampler([slab], Predictor(near, experts, unused, int(slab.max())), rng).draw(VOXELS)
    return samples.take(rng.permutation(len(samples)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("--leave", nargs="*", default=[])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    settings, started = PRESETS[options.preset], time.time()
    steps = options.steps or STEPS[options.preset]
    used, held, names = [], {}, []
    with one_thread_blas():
        for path in sorted((options.data / "train").glob("*.nrrd")):
            if any(name in path.name for name in options.leave):
                continue
            voxels = read(path).as_frames()
            slab = crop(SampleMap.fit([voxels]).forward(voxels)[0])
            for number, variant in enumerate(variants(slab)):
                samples = samples_of(np.ascontiguousarray(variant), settings)
                n = len(samples) * 9 // 10
                used.append(samples.take(slice(0, n)))
                if number == 0:
                    held[path.stem] = samples.take(slice(n, None))
            names.append(path.stem)
            print(path.stem, f"{time.time() - started:.0f} s", flush=True)
        joined = Samples.join(used)
        layers = initial_weights([joined.inputs.shape[1], *settings.hidden, 2], np.random.default_rng(7))
        network = to_integer(train(layers, joined, steps, BATCH, RATE, 3))
    bits = {name: round(code_length(to_float(network), part), 4) for name, part in held.items()}
    description = {"preset": options.preset, "radii": [list(pair) for pair in settings.radii],
                   "inputs": settings.n_inputs, "residuals": settings.n_residuals, "volumes": names, "steps": steps,
                   "trained": datetime.date.today().isoformat(), "bits": bits}
    output = options.output or SHIPPED / f"{options.preset}.mcmodel"
    if not options.output and output.exists():
        trained = unpack_model(output.read_bytes()).description.get("trained", "first")
        output.rename(output.with_stem(f"{options.preset}-{trained}"))
    output.write_bytes(pack_model(Model(network, description)))
    print(f"{output}: {network.sha256}, {np.mean(list(bits.values())):.4f} bits a voxel on held-out voxels, "
          f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main()
