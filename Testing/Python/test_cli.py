"""The command line: what it prints, what it writes, its exit codes, and that it leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import MedCompressLib as mc
from MedCompressLib import api, cli, encode

ROOT = Path(mc.__file__).parents[1]
MATRIX = np.diag([0.7, -0.7, 2.5, 1.0])


@pytest.fixture
def volume():
    rng = np.random.default_rng(0)
    return mc.Volume(np.add.accumulate(rng.integers(-9, 10, (30, 40, 50)), axis=2).astype(np.int16), MATRIX)


@pytest.fixture
def image(tmp_path, volume):
    path = tmp_path / "chest.nrrd"
    mc.write(path, volume)
    return path


@pytest.fixture
def run(capsys):
    """Runs a command here; returns exit code, output and errors."""

    def call(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse
            code = stopped.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def process(*arguments, **options):
    """Runs a command as users do."""
    command = [sys.executable, "-m", "MedCompressLib", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


class TestRegions:
    @pytest.fixture
    def labels(self, tmp_path, volume):
        mask = np.zeros(volume.shape, np.uint8)
        mask[5:20, 10:30, 10:40] = 3
        mc.write(tmp_path / "organs.nrrd", mc.Volume(mask, volume.ijk_to_ras))
        return mask

    @pytest.mark.parametrize("rest", [("--max-error", 9), ("--target-psnr", 40), ("--background", -1024)])
    def test_labels_are_exact(self, run, image, volume, labels, tmp_path, rest):
        code, out, err = run("compress", image, "--roi", tmp_path / "organs.nrrd", *rest)
        assert (code, err) == (0, "") and "LOSSY" in out
        again = mc.read(image.with_suffix(".mcz")).voxels
        assert np.array_equal(again[labels > 0], volume.voxels[labels > 0])
        assert not np.array_equal(again, volume.voxels)
        if rest[0] == "--background":
            assert np.all(again[labels == 0] == -1024) and "replaced by -1024" in out

    def test_margin(self, run, image, volume, labels, tmp_path):
        run("compress", image, "--roi", tmp_path / "organs.nrrd", "--background", 0, "--margin", 0.8)
        assert np.array_equal(mc.read(image.with_suffix(".mcz")).voxels[10, 20, 9:41], volume.voxels[10, 20, 9:41])

    def test_a_progressive_file_begins_with_them(self, run, image, volume, labels, tmp_path, monkeypatch):
        monkeypatch.setattr("MedCompressLib.slabs.SMALL_VOLUME_VOXELS", 0)
        mc.write(tmp_path / "lesion.nrrd", mc.Volume(np.where(np.arange(30)[:, None, None] > 16, labels, 0),
                                                     volume.ijk_to_ras))
        code, out, err = run("compress", image, "--codec", "progressive", "--roi", tmp_path / "lesion.nrrd")
        assert (code, err) == (0, "") and "identical" in out
        assert "slices 16 to 23" in run("info", image.with_suffix(".mcz"))[1]
        preview = tmp_path / "preview.nrrd"
        code, out, err = run("decompress", image.with_suffix(".mcz"), preview, "--budget", "70%")
        assert (code, err) == (0, "") and "exact slices: 16 to 23" in out
        assert np.array_equal(mc.read(preview).voxels[16:24], volume.voxels[16:24])

    def test_refusals(self, run, image, volume, labels, tmp_path):
        roi = tmp_path / "organs.nrrd"
        moved = MATRIX.copy()
        moved[0, 3] = 1
        mc.write(tmp_path / "moved.nrrd", mc.Volume(labels, moved))
        mc.write(tmp_path / "small.nrrd", mc.Volume(labels[:9], MATRIX))
        for arguments, words in ((("--roi", roi), "what becomes of the rest"),
                                 (("--background", 0), "needs a region of interest"),
                                 (("--roi", tmp_path / "moved.nrrd", "--max-error", 3), "lie elsewhere"),
                                 (("--roi", tmp_path / "small.nrrd", "--max-error", 3), "resample it"),
                                 (("--roi", tmp_path / "none.nrrd", "--max-error", 3), "none.nrrd")):
            code, _, err = run("compress", image, *arguments)
            assert code == 1 and words in err and err.count("\n") == 1, err
            assert not image.with_suffix(".mcz").exists()


class TestCompress:
    def test_there_and_back(self, run, image, volume, tmp_path):
        code, out, err = run("compress", image, "--codec", "raw")
        assert (code, err) == (0, "")
        assert re.search(r"chest\.mcz: 120 kB of voxels in .* ratio 1\.\d\d, .* bits per voxel; decoded again", out)
        code, out, err = run("decompress", tmp_path / "chest.mcz", tmp_path / "again.nrrd")
        assert (code, err) == (0, "")
        assert "30 x 40 x 50 voxels of int16" in out
        again = mc.read(tmp_path / "again.nrrd")
        assert np.array_equal(again.voxels, volume.voxels) and np.array_equal(again.ijk_to_ras, MATRIX)
        assert sorted(os.listdir(tmp_path)) == ["again.nrrd", "chest.mcz", "chest.nrrd"]

    @pytest.mark.parametrize(("name", "output"), [("a.nii.gz", "a.mcz"), ("b.c.MHA", "b.c.mcz"), ("x.mcz", "x.mcz.mcz"),
                                                  ("folder", "folder.mcz"), ("folder/", "folder.mcz")])
    def test_default_name(self, name, output):
        assert cli._default_output(Path("/data") / name) == Path("/data") / output

    def test_folder_itself(self, tmp_path, monkeypatch):
        (tmp_path / "series").mkdir()
        monkeypatch.chdir(tmp_path / "series")
        assert cli._default_output(Path(".")) == tmp_path / "series.mcz"

    def test_does_not_replace_without_force(self, run, image, tmp_path):
        (tmp_path / "chest.mcz").write_bytes(b"precious")
        code, out, err = run("compress", image)
        assert code == 1 and out == "" and "exists; choose another name or use --force" in err
        assert (tmp_path / "chest.mcz").read_bytes() == b"precious"
        assert run("compress", image, "--force", "--codec", "raw")[0] == 0
        assert mc.verify(tmp_path / "chest.mcz").ok

    def test_preset_and_threads(self, run, image, tmp_path):
        assert run("compress", image, tmp_path / "a.mcz", "--codec=raw", "--preset=plain", "--threads", "2")[0] == 0
        assert run("compress", image, tmp_path / "b.mcz", "--codec", "raw", "--threads", "1")[0] == 0
        assert (tmp_path / "a.mcz").read_bytes() == (tmp_path / "b.mcz").read_bytes()
        code, _, err = run("compress", image, tmp_path / "c.mcz", "--codec", "raw", "--preset", "best")
        assert code == 1 and "no preset 'best'; use one of plain" in err

    @pytest.mark.parametrize(("options", "reason"), [
        (["--margin", "3"], "A margin is for regions"), (["--deidentify"], "the identity of the patient stays"),
        (["--refuse-others"], "are for archives"), (["--volume-only", "--deidentify"], "stays in the metadata")])
    def test_no_option_is_passed_over_in_silence(self, run, image, tmp_path, options, reason):
        code, _, err = run("compress", image, tmp_path / "a.mcz", *options)
        assert code == 1 and reason in err and err.count("\n") == 1 and not (tmp_path / "a.mcz").exists()

    @pytest.mark.parametrize("name", ["chest.nrrd", "other.nrrd", "other.nii.gz"])
    def test_names_of_image_files_are_refused(self, run, image, tmp_path, name):
        before = image.read_bytes()
        code, _, err = run("compress", image, tmp_path / name, "--force")
        assert code == 1 and "give it the ending .mcz" in err
        assert image.read_bytes() == before and list(tmp_path.iterdir()) == [image]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
    def test_what_is_no_regular_file_stays(self, run, image, tmp_path):
        for name, command in (("pipe", "compress"), ("pipe.nrrd", "decompress")):
            os.mkfifo(tmp_path / name)
            source = image if command == "compress" else tmp_path / "a.mcz"
            mc.write(tmp_path / "a.mcz", mc.read(image), overwrite=True)
            code, _, err = run(command, source, tmp_path / name, "--force")
            assert code == 1 and "is not a regular file" in err and (tmp_path / name).is_fifo()

    def test_recompress(self, run, image, tmp_path, volume):
        assert run("compress", image, tmp_path / "a.mcz", "--codec", "raw")[0] == 0
        assert run("compress", tmp_path / "a.mcz", tmp_path / "b.mcz", "--codec", "raw")[0] == 0
        assert np.array_equal(mc.read(tmp_path / "b.mcz").voxels, volume.voxels)

    def test_dicom_folder(self, run, data_folder, tmp_path):
        folders = sorted(path for path in (data_folder / "dicom").iterdir() if path.is_dir())
        codes = {folder.name: run("compress", folder, tmp_path / f"{folder.name}.mcz", "--codec", "raw",
                                  "--volume-only") for folder in folders[:4]}
        for name, (code, _, err) in codes.items():
            assert code == 0 or (code == 1 and err.count("\n") == 1), (name, err)
        assert any(code == 0 for code, _, _ in codes.values())

    def test_several_series_are_listed(self, run, data_file, tmp_path):
        for name in ("mr_compressed_rle", "mr_hitachi_implicit"):
            shutil.copytree(data_file(f"dicom/{name}"), tmp_path / "both" / name)
        code, out, err = run("compress", tmp_path / "both", "--volume-only")
        assert code == 1 and out == "" and err.startswith("medcompress: There are 2 series in ")
        uids = re.findall(r"\b1\.[\d.]{10,}", err)
        assert "--series UID" in err and len(uids) == 2
        assert run("compress", tmp_path / "both", "--volume-only", "--series", uids[0], "--codec", "raw")[0] == 0
        assert (tmp_path / "both.mcz").exists()

    def test_slices_of_one_series_of_an_archive(self, run, data_file, tmp_path):
        for name in ("mr_compressed_rle", "mr_hitachi_implicit"):
            shutil.copytree(data_file(f"dicom/{name}"), tmp_path / "both" / name)
        assert run("compress", tmp_path / "both", "--codec", "raw")[0] == 0
        code, _, err = run("decompress", tmp_path / "both.mcz", tmp_path / "a.nrrd", "--slices", "0:1")
        uid = re.findall(r"\b1\.[\d.]{10,}", err)[0]
        assert code == 1 and "--series UID" in err
        assert run("decompress", tmp_path / "both.mcz", tmp_path / "a.nrrd", "--slices", "0:1", "--series", uid)[0] == 0
        assert mc.read(tmp_path / "a.nrrd").shape[0] == 1
        mc.write(tmp_path / "one.mcz", mc.read(tmp_path / "a.nrrd"))
        code, _, err = run("decompress", tmp_path / "one.mcz", tmp_path / "b.nrrd", "--series", uid)
        assert code == 1 and "no series to choose" in err and not (tmp_path / "b.nrrd").exists()

    def test_dicom_files_are_kept_byte_for_byte(self, run, data_file, tmp_path):
        for name in ("mr_compressed_rle", "mr_hitachi_implicit"):
            shutil.copytree(data_file(f"dicom/{name}"), tmp_path / "both" / name)
        (tmp_path / "both" / "notes.txt").write_text("hello")
        code, out, err = run("compress", tmp_path / "both")
        assert (code, err) == (0, "") and "9 files (1 without an image)" in out and "byte for byte" in out
        code, out, _ = run("decompress", tmp_path / "both.mcz", tmp_path / "again")
        assert code == 0 and "9 files" in out
        for path in (tmp_path / "both").rglob("*.*"):
            assert (tmp_path / "again" / path.relative_to(tmp_path / "both")).read_bytes() == path.read_bytes()
        assert run("verify", tmp_path / "both.mcz")[0] == 0
        code, _, err = run("decompress", tmp_path / "both.mcz", tmp_path / "a.nrrd")
        assert code == 1 and "--series UID" in err
        code, _, err = run("compress", tmp_path / "both", tmp_path / "b.mcz", "--refuse-others")
        assert code == 1 and "notes.txt" in err and not (tmp_path / "b.mcz").exists()

    def test_what_identifies_the_patient_is_shown_only_on_demand(self, run, data_file, tmp_path):
        run("compress", data_file("dicom/mr_hyperfine_multiframe"), tmp_path / "a.mcz")
        for options in ((), ("--json",)):
            assert not re.search(r"dicom2nifti|1\.2\.826|001\.dcm", run("info", tmp_path / "a.mcz", *options)[1])
            out = run("info", tmp_path / "a.mcz", "--phi", *options)[1]
            assert "dicom2nifti" in out and "1.2.826" in out and "001.dcm" in out

    def test_warnings_are_readable(self, run, image, tmp_path, monkeypatch):
        def warning_read(*arguments):
            warnings.warn("2 files were left out.", stacklevel=2)
            return mc.LazyVolume.of(mc.Volume(np.zeros((1, 2, 3), np.uint8)))

        monkeypatch.setattr(api, "open", warning_read)
        code, _, err = run("compress", image, "--codec", "raw")
        assert (code, err) == (0, "medcompress: warning: 2 files were left out.\n")


class TestDecompress:
    @pytest.mark.parametrize(("text", "start", "stop"),
                             [("16:20", 16, 20), (":3", 0, 3), ("-4:", 26, 30), (":", 0, 30)])
    def test_slices(self, run, volume, tmp_path, text, start, stop):
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        assert run("decompress", tmp_path / "a.mcz", tmp_path / "part.nrrd", f"--slices={text}")[0] == 0
        part = mc.read(tmp_path / "part.nrrd")
        assert np.array_equal(part.voxels, volume.voxels[start:stop])
        assert part.ijk_to_ras[2, 3] == 2.5 * start

    def test_refused(self, run, volume, tmp_path):
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        (tmp_path / "old.nrrd").write_bytes(b"precious")
        for arguments, reason in ((("a.mcz", "old.nrrd"), "--force"), (("a.mcz", "new.txt"), "not named like an image"),
                                  (("a.mcz", "b.mcz"), "not named like an image"), (("no.mcz", "b.nrrd"), "no file"),
                                  (("a.mcz", "no/b.nrrd"), "no folder"), (("old.nrrd", "b.nrrd"), "not an .mcz file"),
                                  (("a.mcz", "b.nrrd", "--slices=30:40"), "no slices 30 to 40")):
            code, out, err = run("decompress", tmp_path / arguments[0], tmp_path / arguments[1], *arguments[2:])
            assert code == 1 and out == "" and reason in err
            assert err.startswith("medcompress: ") and err.count("\n") == 1
        assert sorted(os.listdir(tmp_path)) == ["a.mcz", "old.nrrd"]
        assert (tmp_path / "old.nrrd").read_bytes() == b"precious"

    def test_force(self, run, volume, tmp_path):
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        (tmp_path / "old.nrrd").write_bytes(b"worthless")
        assert run("decompress", tmp_path / "a.mcz", tmp_path / "old.nrrd", "--force")[0] == 0
        assert np.array_equal(mc.read(tmp_path / "old.nrrd").voxels, volume.voxels)


class TestInfo:
    def test_text(self, run, volume, tmp_path):
        volume.metadata = {"Patient": "Ωmega", "Long": list(range(1000))}
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        assert "mega" not in run("info", tmp_path / "a.mcz")[1] + run("info", tmp_path / "a.mcz", "--json")[1]
        code, out, err = run("info", tmp_path / "a.mcz", "--phi")
        assert (code, err) == (0, "")
        assert "30 x 40 x 50 (kji) of int16" in out and "2.5 x 0.7 x 0.7 mm" in out
        assert "raw, preset plain, lossless" in out and "bits per voxel" in out and '"Ωmega"' in out
        assert mc.info(tmp_path / "a.mcz")["voxel_sha256"] in out
        assert max(map(len, out.splitlines()[1:])) < 200

    def test_sequence(self, run, tmp_path):
        volume = mc.Volume(np.zeros((3, 2, 4, 5), np.uint8), axes="tkji",
                           sequence=mc.SequenceAxis("b-value", "s/mm2", ["0", "500", "1000"]))
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        assert 'b-value (s/mm2): ["0", "500", "1000"]' in run("info", tmp_path / "a.mcz")[1]

    def test_json(self, run, volume, tmp_path):
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        code, out, _ = run("info", tmp_path / "a.mcz", "--json")
        assert code == 0 and json.loads(out) == mc.info(tmp_path / "a.mcz")

    def test_terminal_that_cannot_show_it(self, volume, tmp_path):
        volume.metadata = {"Ω": "☃"}
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        result = subprocess.run([sys.executable, "-m", "MedCompressLib", "info", "--phi", str(tmp_path / "a.mcz")],
                                capture_output=True, text=True,
                                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"})
        assert result.returncode == 0 and r"\u2603" in result.stdout


class TestVerify:
    def test_whole(self, run, volume, tmp_path):
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        code, out, err = run("verify", tmp_path / "a.mcz")
        assert (code, err) == (0, "") and "whole; 1 slabs decoded" in out
        code, out, _ = run("verify", tmp_path / "a.mcz", "--json")
        assert code == 0 and json.loads(out)["ok"] is True and json.loads(out)["problems"] == []

    def test_damaged(self, run, volume, tmp_path):
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        data = bytearray((tmp_path / "a.mcz").read_bytes())
        data[-1] ^= 1
        (tmp_path / "a.mcz").write_bytes(data)
        code, out, _ = run("verify", tmp_path / "a.mcz")
        assert code == 1 and "damaged: the checksum of its slab 0 (slices 0 to 29)" in out
        code, out, _ = run("verify", tmp_path / "a.mcz", "--json")
        assert code == 1 and json.loads(out)["ok"] is False and json.loads(out)["damaged_slices"] == [[0, 29]]


class TestUsage:
    @pytest.mark.parametrize("arguments", [[], ["zip"], ["compress"], ["compress", "a", "b", "c"], ["info"],
                                           ["decompress", "a.mcz"], ["compress", "a", "--codec", "zip"],
                                           ["compress", "a", "--threads", "0"], ["compress", "a", "--threads", "x"],
                                           ["compress", ""], ["compress", "a", ""], ["info", ""],
                                           ["decompress", "a", "b", "--slices", "3"],
                                           ["decompress", "a", "b", "--slices", "a:b"]])
    def test_wrong(self, run, arguments):
        code, out, err = run(*arguments)
        assert code == 2 and out == "" and "usage: medcompress" in err

    @pytest.mark.parametrize("command", [[], ["compress"], ["decompress"], ["info"], ["verify"]])
    def test_help(self, run, command):
        code, out, _ = run(*command, "--help")
        assert code == 0 and "usage: medcompress" in out

    def test_version(self, run):
        assert run("--version")[1].strip() == f"medcompress {mc.__version__}"

    def test_exit_codes_are_in_the_help(self, run):
        out = " ".join(run("--help")[1].split())
        for code in ("0 done", "1 the input is bad", "2 wrong usage", "130 cancelled"):
            assert code in out


class TestProgress:
    def test_lines(self, run, image, tmp_path):
        for arguments in (("compress", image, tmp_path / "a.mcz", "--codec", "raw"),
                          ("decompress", tmp_path / "a.mcz", tmp_path / "b.nrrd"), ("verify", tmp_path / "a.mcz")):
            code, out, err = run(*arguments, "--progress")
            lines = [line for line in out.splitlines() if line.startswith("progress")]
            assert (code, err) == (0, "")
            assert all(re.fullmatch(r"progress [01]\.\d\d", line) for line in lines)
            fractions = [float(line.split()[1]) for line in lines]
            assert fractions == sorted(set(fractions)) and fractions[-1] == 1

    def test_silent_when_not_asked(self, run, image, tmp_path):
        _, out, err = run("compress", image, tmp_path / "a.mcz", "--codec", "raw")
        assert "progress" not in out and err == "" and out.count("\n") == 1

    def test_bar_on_a_terminal(self, run, image, tmp_path, monkeypatch):
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        _, out, err = run("compress", image, tmp_path / "a.mcz", "--codec", "raw")
        assert "100 %" in err and "[####" in err and err.endswith("\r")
        assert "%" not in out


class TestCancel:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, mc.Cancelled])
    def test_interrupt(self, run, image, tmp_path, monkeypatch, error):
        encode_volume = encode.encode_volume

        def interrupted(*arguments):
            encode_volume(*arguments)
            raise error("enough")

        monkeypatch.setattr(encode, "encode_volume", interrupted)
        (tmp_path / "chest.mcz").write_bytes(b"precious")
        code, out, err = run("compress", image, "--force", "--codec", "raw")
        assert (code, out, err) == (130, "", "medcompress: cancelled\n")
        assert sorted(os.listdir(tmp_path)) == ["chest.mcz", "chest.nrrd"]
        assert (tmp_path / "chest.mcz").read_bytes() == b"precious"

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_signal(self, tmp_path, number):
        volume = mc.Volume(np.random.default_rng(1).integers(0, 2**16, (200, 400, 500), dtype=np.uint16))
        mc.write(tmp_path / "big.mcz", volume, codec="raw", verify=False)

        def hear():  # a suite that runs in the background is deaf to SIGINT, and so is what it starts
            signal.signal(number, signal.SIG_DFL)

        for _ in range(5):  # where this process has to wait for long, the other may be done before the signal
            running = subprocess.Popen([sys.executable, "-m", "MedCompressLib", "compress", str(tmp_path / "big.mcz"),
                                        str(tmp_path / "out.mcz"), "--codec", "raw", "--threads", "1", "--progress"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       env={**os.environ, "PYTHONPATH": str(ROOT)},
                                       preexec_fn=hear)
            assert running.stdout.readline().startswith("progress")
            running.send_signal(number)
            _, err = running.communicate(timeout=600)
            if running.returncode != 0:
                break
            (tmp_path / "out.mcz").unlink()
        assert (running.returncode, err) == (130, "medcompress: cancelled\n")
        assert os.listdir(tmp_path) == ["big.mcz"]

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
    def test_disk_full(self, image, tmp_path):
        import resource

        (tmp_path / "chest.mcz").write_bytes(b"precious")
        result = process("compress", image, "--force", "--codec", "raw",
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
        assert result.returncode == 1 and result.stdout == ""
        assert result.stderr.startswith("medcompress: ") and "cannot be written" in result.stderr
        assert result.stderr.count("\n") == 1
        assert (tmp_path / "chest.mcz").read_bytes() == b"precious"
        assert sorted(os.listdir(tmp_path)) == ["chest.mcz", "chest.nrrd"]

    def test_reader_of_the_output_goes_away(self, volume, tmp_path):
        volume.metadata = {str(number): "x" * 90 for number in range(5000)}
        mc.write(tmp_path / "a.mcz", volume, codec="raw")
        running = subprocess.Popen([sys.executable, "-m", "MedCompressLib", "info", "--phi", str(tmp_path / "a.mcz")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ,
                                                                                        "PYTHONPATH": str(ROOT)})
        running.stdout.readline()
        running.stdout.close()
        assert running.wait(timeout=600) == 1
        assert running.stderr.read() == b""


def test_errors_are_one_line(tmp_path):
    (tmp_path / "bad.mcz").write_bytes(b"\x89MCZ\r\n\x1a\n" + bytes(300))
    for arguments in (("info", tmp_path / "bad.mcz"), ("decompress", tmp_path / "bad.mcz", tmp_path / "a.nrrd"),
                      ("compress", tmp_path / "nothing.nrrd"), ("verify", tmp_path / "nothing.mcz")):
        result = process(*arguments)
        assert result.returncode == 1 and result.stderr.count("\n") == 1 and result.stderr.startswith("medcompress: ")


def test_out_of_memory_is_one_line(run, volume, tmp_path, monkeypatch):
    mc.write(tmp_path / "a.mcz", volume, codec="raw")

    def hungry(*arguments):
        raise MemoryError

    monkeypatch.setattr(api, "decode_volume", hungry)
    code, _, err = run("decompress", tmp_path / "a.mcz", tmp_path / "a.nrrd", "--slices", "0:4")
    assert code == 1 and "not enough memory" in err


@pytest.mark.parametrize(("option", "value", "name"), [("--target-ratio", "9", "ratio 9"),
                                                       ("--target-bpv", "1.5", "bits_per_voxel 1.5"),
                                                       ("--target-psnr", "40", "psnr_db 40")])
def test_a_target_is_met_and_told(tmp_path, capsys, option, value, name):
    k, j, i = np.indices((8, 40, 44))
    voxels = (300 * np.sin(j / 5 + k) + 200 * np.cos(i / 6) + np.random.default_rng(0).normal(0, 9, k.shape))
    mc.write(tmp_path / "a.nrrd", voxels.astype(np.int16))
    assert cli.main(["compress", str(tmp_path / "a.nrrd"), option, value]) == 0
    assert "LOSSY, decoded again" in capsys.readouterr().out
    assert cli.main(["info", str(tmp_path / "a.mcz")]) == 0
    told = capsys.readouterr().out
    assert name in told and "PSNR" in told
    assert cli.main(["compress", str(tmp_path / "a.nrrd"), "--force", option, "-1"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
