"""`python -m reference volume.mcz ...`: what the files hold, decoded by the reference decoder."""

import hashlib
import sys
from pathlib import Path

from . import RefusedError, decode

for name in sys.argv[1:]:
    try:
        volume = decode(Path(name).read_bytes())
    except RefusedError as error:
        print(f"{name}: refused: {error}")
        continue
    digest = hashlib.sha256(volume.voxels.tobytes()).hexdigest()
    print(f"{name}: {volume.axes} {'x'.join(map(str, volume.voxels.shape))} {volume.voxels.dtype} SHA-256 {digest}")
