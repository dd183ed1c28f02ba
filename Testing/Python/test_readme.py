"""What README.md shows works: its Python, its command lines, and the paths it points to."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from MedCompressLib import read, write
from MedCompressLib.demo import sample_scan

PROJECT = Path(__file__).resolve().parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with chest.nrrd, a real scan, though not of a chest (part of a frame of nibabel's), and organs.nrrd."""
    pytest.importorskip("nibabel")
    folder = tmp_path_factory.mktemp("readme")
    scan = read(sample_scan())
    voxels = scan.voxels[0, :16, 16:80, 16:112]
    write(folder / "chest.nrrd", type(scan)(voxels, scan.ijk_to_ras))
    write(folder / "organs.nrrd", type(scan)((voxels > 400).astype("uint8"), scan.ijk_to_ras))
    return folder


def test_there_is_something_to_test():
    assert len(blocks("python")) == 1 and len(blocks("console")) == 1


@pytest.mark.parametrize("code", blocks("python"))
def test_python(code, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "chest.mcz").unlink(missing_ok=True)
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("commands", blocks("console"))
def test_command_lines(commands, folder):
    (folder / "chest.mcz").unlink(missing_ok=True)
    for line in commands.splitlines():
        assert line.startswith("$ medcompress ")
        done = subprocess.run([sys.executable, "-m", "MedCompressLib", *shlex.split(line)[2:]], cwd=folder,
                              capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    whole, part = read(folder / "restored.nrrd"), read(folder / "slices.nii.gz")
    assert whole.equals(read(folder / "chest.nrrd"))
    assert part.voxels.tobytes() == whole.voxels[8:16].tobytes()
    labels = read(folder / "organs.nrrd").voxels > 0
    for name in ("organs.mcz", "organs-only.mcz"):
        assert (read(folder / name).voxels[labels] == whole.voxels[labels]).all()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "FORMAT.md", "CHANGELOG.md"])
def test_links_point_to_files(document):
    text = (PROJECT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (PROJECT / target).exists(), target


def test_make_targets_exist():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for text in (README, (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        for target in re.findall(r"\bmake ([a-z]+)\b", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
