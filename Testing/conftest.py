"""What every test may ask for: the folder of real volumes, which stands outside the project and may be absent."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# On a busy machine any example may take long; tests of speed measure it themselves (stopwatch.py).
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

DATA_FOLDER = Path(os.environ.get("MEDCOMPRESS_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder of real volumes with `manifest.csv`, `train/`, `public/` and `dicom/`; the test skips without it."""
    if not (DATA_FOLDER / "manifest.csv").is_file():
        pytest.skip(f"no real volumes in {DATA_FOLDER}; set MEDCOMPRESS_DATA to a folder that has them")
    return DATA_FOLDER


@pytest.fixture(scope="session")
def data_file(data_folder: Path) -> Callable[[str], Path]:
    """Function from a path relative to the data folder to the file (or series folder); skips when it is absent."""

    def find(relative: str) -> Path:
        path = data_folder / relative
        if not path.exists():
            pytest.skip(f"{relative} is not among the real volumes in {data_folder}")
        return path

    return find
