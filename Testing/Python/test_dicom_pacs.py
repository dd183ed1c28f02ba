"""A real PACS: Orthanc on loopback takes exported series by C-STORE and DICOMweb and gives them back unchanged; and a
validator finds no error in them that the source did not have."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

import MedCompressLib as mc
from MedCompressLib.dicom import read_series
from MedCompressLib.dicom_export import SYNTAXES, Loss, export_series

EXECUTABLE = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins")
LOSS = Loss(7.5, "Near-lossless: no stored value is off by more than 1; padding is exact.")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Orthanc:
    """A running server with an empty storage of its own."""

    def __init__(self, folder):
        self.http, self.dicom = free_port(), free_port()
        configuration = {
            "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.http, "DicomPort": self.dicom, "RemoteAccessAllowed": False,
            "HttpBindAddresses": ["127.0.0.1"],
            "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False,
            "UnknownSopClassAccepted": True, "Plugins": [path for path in PLUGINS if Path(path).is_dir()],
            "DicomWeb": {"Enable": True}, "AcceptedTransferSyntaxes": ["1.2.840.10008.1.*"],
            "TranscodeDicomProtocol": False, "IngestTranscodingOfCompressed": False}
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self._log = open(folder / "log.txt", "wb")
        self.process = subprocess.Popen([EXECUTABLE, str(folder / "orthanc.json")], stdout=self._log, stderr=self._log)
        for _ in range(150):
            try:
                self.get("/system")
                return
            except (OSError, urllib.error.URLError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.2)
        self.stop()
        pytest.skip(f"Orthanc did not start: {(folder / 'log.txt').read_text(errors='replace')[-300:]}")

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=20) as answer:
            return answer.read()

    def json(self, path):
        return json.loads(self.get(path))

    def post(self, path, data, content):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data, {"Content-Type": content})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    def clear(self):
        for patient in self.json("/patients"):
            request = urllib.request.Request(f"http://127.0.0.1:{self.http}/patients/{patient}", method="DELETE")
            urllib.request.urlopen(request, timeout=20).close()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._log.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if EXECUTABLE is None:
        pytest.skip("Orthanc is not installed; CONTRIBUTING.md says how to get it")
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield orthanc
    orthanc.stop()


@pytest.fixture
def pacs(server):
    server.clear()
    return server


@pytest.fixture
def source(data_file):
    return data_file("dicom/ct_gantry_tilt_siemens")


def lossy(volume):
    volume.voxels = volume.voxels + (volume.voxels % 2 == 0).astype(volume.dtype)
    return volume


def exported(source, folder, syntax, loss):
    volume = read_series(source)
    volume = volume if loss is None else lossy(volume)
    export_series(volume, folder, syntax, source, loss)
    return volume, {str(pydicom.dcmread(path).SOPInstanceUID): path.read_bytes() for path in folder.iterdir()}


def store(pacs, files, syntax):
    """C-STORE, with the transfer syntax of the files as the only one that is proposed."""
    pynetdicom = pytest.importorskip("pynetdicom")
    import io

    entity = pynetdicom.AE()
    datasets = [pydicom.dcmread(io.BytesIO(data)) for data in files.values()]
    entity.add_requested_context(datasets[0].SOPClassUID, SYNTAXES[syntax])
    association = entity.associate("127.0.0.1", pacs.dicom)
    if syntax == "htj2k" and not association.is_established:
        pytest.skip(f"Orthanc {pacs.json('/system')['Version']} does not take HTJ2K by C-STORE, only over HTTP")
    assert association.is_established
    try:
        assert [association.send_c_store(dataset).Status for dataset in datasets] == [0] * len(datasets)
    finally:
        association.release()


@pytest.mark.parametrize("loss", [None, LOSS], ids=["lossless", "lossy"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_stored_by_c_store_and_returned_unchanged(pacs, source, tmp_path, syntax, loss):
    volume, files = exported(source, tmp_path / "out", syntax, loss)
    store(pacs, files, syntax)
    (tmp_path / "back").mkdir()
    found = pacs.json("/instances?expand")
    assert {one["MainDicomTags"]["SOPInstanceUID"] for one in found} == set(files)
    for one in found:
        (tmp_path / "back" / one["ID"]).write_bytes(pacs.get(f"/instances/{one['ID']}/file"))
    back = read_series(tmp_path / "back")
    assert np.array_equal(back.voxels, volume.voxels)
    assert back.metadata["DICOM"]["TransferSyntaxUID"] == SYNTAXES[syntax]
    for path in (tmp_path / "back").iterdir():
        after = pydicom.dcmread(path)
        before = pydicom.dcmread(tmp_path / "out" / next(
            name.name for name in (tmp_path / "out").iterdir() if files[after.SOPInstanceUID] == name.read_bytes()))
        assert after == before  # every element, the pixel data too


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_stored_over_http_is_the_same_file(pacs, source, tmp_path, syntax):
    _, files = exported(source, tmp_path / "out", syntax, None)
    for uid, data in files.items():
        answer = json.loads(pacs.post("/instances", data, "application/dicom"))
        assert answer["Status"] == "Success"
        assert pacs.get(f"/instances/{answer['ID']}/file") == files[uid]


def test_query_and_retrieve_over_dicomweb(pacs, source, tmp_path):
    if not any("dicom-web" in plugin for plugin in pacs.json("/plugins")):
        pytest.skip("Orthanc has no DICOMweb plug-in here (package orthanc-dicomweb)")
    volume, files = exported(source, tmp_path / "out", "jpeg-ls", None)
    boundary = b"medcompress-boundary"
    body = b"".join(b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n"
                    for data in files.values()) + b"--" + boundary + b"--"
    pacs.post("/dicom-web/studies", body,
              f'multipart/related; type="application/dicom"; boundary={boundary.decode()}')
    [series] = pacs.json(f"/dicom-web/series?SeriesInstanceUID={volume.metadata['DICOM']['SeriesInstanceUID']}")
    assert series["00080060"]["Value"] == ["CT"]
    instances = pacs.json("/dicom-web/instances")
    assert {one["00080018"]["Value"][0] for one in instances} == set(files)


def test_archive_of_what_the_pacs_gives(pacs, source, tmp_path):
    _, files = exported(source, tmp_path / "out", "explicit", None)
    for data in files.values():
        pacs.post("/instances", data, "application/dicom")
    (tmp_path / "back").mkdir()
    for one in pacs.json("/instances"):
        (tmp_path / "back" / f"{one}.dcm").write_bytes(pacs.get(f"/instances/{one}/file"))
    mc.pack(tmp_path / "back", tmp_path / "a.mcz", codec="raw")
    mc.unpack(tmp_path / "a.mcz", tmp_path / "again")
    for path in (tmp_path / "back").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


# Validation -------------------------------------------------------------------------------------------------------
def complaints(path):
    """Lines with which dciodvfy names an error, numbers of bytes left out."""
    result = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace")
    return {line for line in (result.stderr + result.stdout).splitlines() if line.startswith("Error")}


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy of dicom3tools is not installed")
@pytest.mark.parametrize("loss", [None, LOSS], ids=["lossless", "lossy"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_error_that_the_source_did_not_have(source, tmp_path, syntax, loss):
    if syntax == "htj2k":
        pytest.skip("dciodvfy does not know HTJ2K and takes its pixel data for damage")
    exported(source, tmp_path / "out", syntax, loss)
    known = set().union(*(complaints(path) for path in source.iterdir()))
    for path in (tmp_path / "out").iterdir():
        assert complaints(path) <= known


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy of dicom3tools is not installed")
@pytest.mark.parametrize("modality", ["CT", "MR", "OT"])
def test_fresh_series_is_valid(tmp_path, modality):
    volume = mc.Volume(np.zeros((2, 40, 36), np.int16 if modality == "CT" else np.uint16))
    export_series(volume, tmp_path / "out", modality=modality, elements={"PatientName": "A^B", "PatientID": "1"})
    for path in (tmp_path / "out").iterdir():
        assert complaints(path) == set()
