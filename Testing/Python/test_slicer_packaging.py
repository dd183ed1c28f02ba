"""What the Extensions Index, CMake and PythonQt ask for and nothing else would notice."""

import ast
import json
import os
import re
import struct
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MODULE = PROJECT / "MedCompress"
LIBRARY = PROJECT / "MedCompressLib"
SLICER_FILES = sorted([*MODULE.rglob("*.py"), *(PROJECT / "Testing" / "Python").glob("MedCompress*Test.py")])
UI = MODULE / "Resources" / "UI" / "MedCompress.ui"
NAMES = [str(path.relative_to(PROJECT)) for path in SLICER_FILES]
CATEGORIES = {"Utilities", "Informatics", "Converters", "Exporter", "DICOM", "Segmentation"}


def cmakeList(path, variable):
    """Entries of `set(variable ...)` in a CMake file."""
    text = re.sub(r"#.*", "", path.read_text())
    return re.search(rf"set\({variable}\s+(.*?)\)", text, re.DOTALL).group(1).replace(
        "${MODULE_NAME}", path.parent.name).split()


def extensionVariable(name):
    return re.search(rf'^set\({name} "([^"$]*)"\)', (PROJECT / "CMakeLists.txt").read_text(), re.MULTILINE).group(1)


# CMake ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("folder", [MODULE, LIBRARY], ids=lambda folder: folder.name)
def test_cmake_lists_every_file(folder):
    """A file that is missing in the list is missing only in the installed package, where nobody tests."""
    isResource = (lambda p: "Resources" in p.parts) if folder == MODULE else (
        lambda p: p.suffix in (".mcmodel", ".mcz"))
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()
             and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"]
    resources = {str(path) for path in files if isResource(path)}
    scripts = {str(path) for path in files if path.suffix == ".py" and not isResource(path)}
    for variable, expected in (("MODULE_PYTHON_SCRIPTS", scripts), ("MODULE_PYTHON_RESOURCES", resources)):
        listed = cmakeList(folder / "CMakeLists.txt", variable)
        assert len(listed) == len(set(listed)), "listed twice"
        missing, gone = expected - set(listed), set(listed) - expected
        assert not missing and not gone, (f"{folder.name}/CMakeLists.txt, {variable}: "
                                          f"add {sorted(missing)}, remove {sorted(gone)}")


def test_cmake_reaches_every_folder():
    for path in PROJECT.glob("*/**/CMakeLists.txt"):
        parent = path.parent.parent / "CMakeLists.txt"
        assert f"add_subdirectory({path.parent.name})" in parent.read_text(), path


def test_ctest_runs_every_test_for_inside_slicer():
    folder = PROJECT / "Testing" / "Python"
    listed = re.findall(r"slicer_add_python_unittest\(SCRIPT (\S+)\)", (folder / "CMakeLists.txt").read_text())
    assert sorted(listed) == sorted(path.name for path in folder.glob("MedCompress*Test.py"))


def test_extension_description():
    text = (PROJECT / "CMakeLists.txt").read_text()
    description = json.loads((PROJECT / "MedCompress.json").read_text())
    assert re.search(r"^project\((\w+)\)", text, re.MULTILINE).group(1) == "MedCompress"
    dependencies = extensionVariable("EXTENSION_DEPENDS")
    assert description["build_dependencies"] == ([] if dependencies == "NA" else dependencies.split())
    for name in ("EXTENSION_HOMEPAGE", "EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        for url in extensionVariable(name).split():
            assert re.fullmatch(r"https://[\w./-]+", url)
    for name in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        assert all(url.endswith(".png") for url in extensionVariable(name).split()), "no SVG in the index"
        for url in extensionVariable(name).split():
            assert (PROJECT / url.split("/main/")[1]).is_file()
    assert 20 < len(extensionVariable("EXTENSION_DESCRIPTION")) < 300
    for name in ("LICENSE.txt",):
        assert f"${{CMAKE_CURRENT_SOURCE_DIR}}/{name}" in text and (PROJECT / name).is_file()


def test_catalog_entry():
    """Schema 1.0.2 of the Extensions Index: required keys, no others, Unix line ends."""
    raw = (PROJECT / "MedCompress.json").read_bytes()
    assert b"\r" not in raw and b"\t" not in raw and raw.endswith(b"}\n")
    entry = json.loads(raw)
    known = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "dicom_support_rule",
             "build_subdirectory", "enabled", "tier"}
    assert {"$schema", "category", "scm_url"} <= set(entry) <= known
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert entry["category"] in CATEGORIES
    assert re.fullmatch(r"https://[\w./-]+/Slicer\w+\.git", entry["scm_url"])
    assert entry["tier"] in range(1, 6)


def test_catalog_entry_by_the_schema_itself():
    """With SLICER_SOURCE, by the file of Slicer's."""
    source = os.environ.get("SLICER_SOURCE")
    if not source:
        pytest.skip("SLICER_SOURCE does not name a source checkout of Slicer")
    schema = json.loads((Path(source) / "Schemas" / "slicer-extension-catalog-entry-schema-v1.0.2.json").read_text())
    entry = json.loads((PROJECT / "MedCompress.json").read_text())
    assert entry["$schema"] == schema["$id"]
    assert set(schema["required"]) <= set(entry) <= set(schema["properties"])
    types = {"string": str, "array": list, "boolean": bool, "integer": int}
    for name, value in entry.items():
        assert type(value) is types[schema["properties"][name]["type"]], name


def test_names_of_the_index():
    """The Extensions Index: no name that begins with Slicer, a licence file that it finds, less than 100 MB."""
    assert not (PROJECT / "MedCompress.json").stem.startswith("Slicer")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=False).stdout
    sizes = [path.stat().st_size for name in files.decode().split("\0") if name and (path := PROJECT / name).is_file()]
    assert sum(sizes) < 50e6 and max(sizes, default=0) < 10e6


def test_torch_is_never_installed_nor_imported():
    """Nothing here needs it; an extension that does has to ask PyTorchUtils for it."""
    for path in SLICER_FILES:
        assert not re.search(r"^\s*(import|from) torch|pip_install.*torch", path.read_text(), re.MULTILINE), path


def test_nothing_to_build():
    assert not [*PROJECT.glob("MedCompress*/**/*.h"), *PROJECT.glob("MedCompress*/**/*.cxx")]


@pytest.mark.parametrize("path", [PROJECT / "Resources" / "MedCompress.png",
                                  MODULE / "Resources" / "Icons" / "MedCompress.png"], ids=["extension", "module"])
def test_icon(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (128, 128)
    assert len(data) < 50_000


def test_requirements():
    lines = (MODULE / "Resources" / "requirements.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert requirements == ["constriction>=0.5,<0.6"]
    assert all("==" not in line and "torch" not in line for line in requirements)


# The .ui file -----------------------------------------------------------------------------------------------------
def uiTree():
    return ElementTree.parse(UI).getroot()


def test_every_mrml_widget_gets_the_scene():
    """Without this connection a node selector stays empty in Slicer; nothing else notices."""
    root = uiTree()
    top = root.find("widget")
    assert top.get("class") == "qMRMLWidget"
    wanted = {widget.get("name") for widget in top.iter("widget")
              if widget.get("class").startswith("qMRML") and widget is not top}
    connections = {(c.findtext("sender"), c.findtext("signal"), c.findtext("receiver"), c.findtext("slot"))
                   for c in root.iter("connection")}
    assert wanted
    for name in wanted:
        assert (top.get("name"), "mrmlSceneChanged(vtkMRMLScene*)", name, "setMRMLScene(vtkMRMLScene*)") in connections


def test_parameter_names_exist():
    bound = [p.findtext("string") for p in uiTree().iter("property") if p.get("name") == "SlicerParameterName"]
    tree = ast.parse((MODULE / "MedCompressSlicer" / "ParameterNode.py").read_text())
    parameters = {node.target.id for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)}
    assert bound and len(bound) == len(set(bound)) and set(bound) <= parameters


def test_custom_widgets_are_declared():
    root = uiTree()
    used = {widget.get("class") for widget in root.iter("widget") if not widget.get("class").startswith("Q")}
    assert {c.findtext("class") for c in root.iter("customwidget")} == used


def test_controls_explain_themselves():
    for widget in uiTree().iter("widget"):
        if widget.get("class") in ("qMRMLNodeComboBox", "QComboBox", "ctkPathLineEdit", "QCheckBox"):
            tips = [p.findtext("string") for p in widget.findall("property") if p.get("name") == "toolTip"]
            assert tips and tips[0].endswith("."), widget.get("name")


# Code that runs in PythonQt ---------------------------------------------------------------------------------------
FORBIDDEN = {
    r"\.text\(\)": "a property in PythonQt",
    r"\.value\(\)": "a property in PythonQt",
    r"\.currentText\(\)|\.currentIndex\(\)|\.count\(\)": "a property in PythonQt",
    r"\.isChecked\(|\.isEnabled\(|\.isVisible\(": "use the property",
    r"\.set(ToolTip|Text|Value|Enabled|Visible|Checked|CurrentIndex|Interval)\(": "use the property",
    r"\bimport (imp|distutils)\b": "gone in Python 3.12",
    r"\bqt\.(Signal|Slot|Property|QThread)\b": "crashes or is missing in PythonQt",
    r"\bexec\(": "exec_() in PythonQt",
    r"_\(f[\"']": "lupdate finds no f-string",
    r"\bpip_install\((?!'\{)": "only pip_ensure, and only in Apply",
    r"from slicer\.ScriptedLoadableModule import \*": "import what is used",
    r"\bprint\(": "use logging",
}


@pytest.mark.parametrize("path", SLICER_FILES, ids=NAMES)
def test_code_stays_in_what_pythonqt_and_pyside_share(path):
    lines = path.read_text().splitlines()
    found = [f"{number}: {line.strip()} ({why})" for number, line in enumerate(lines, 1)
             for pattern, why in FORBIDDEN.items() if re.search(pattern, line)
             and not (why == "use logging" and path.name == "Worker.py")]
    assert not found, found


@pytest.mark.parametrize("path", SLICER_FILES, ids=NAMES)
def test_imports_at_file_scope(path):
    """Only what every Slicer has; nothing is executed but definitions, the library's path and a main guard."""
    import sys

    allowed = {*sys.stdlib_module_names, "numpy", "vtk", "slicer", "qt", "ctk", "DICOMLib", "MedCompressLib",
               "MedCompressSlicer"}
    tree = ast.parse(path.read_text())
    for node in tree.body:
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert node.level or node.module.split(".")[0] in allowed
        elif isinstance(node, ast.If):
            assert ast.unparse(node.test) == "__name__ == '__main__'"
        elif isinstance(node, ast.Try):
            assert path.parent.name == "MedCompress", "only modules put the library on the path"
        else:
            assert isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.Assign, ast.Expr)), ast.unparse(node)
            assert not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant), ast.unparse(node)


@pytest.mark.parametrize("path", SLICER_FILES, ids=NAMES)
def test_texts_are_translatable(path):
    """`_()` gets one literal and every placeholder of it is filled by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            assert len(node.args) == 1 and isinstance(node.args[0], ast.Constant), ast.unparse(node)
            assert not re.search(r"\{\}|\{\d", node.args[0].value), "name the placeholders"


def test_user_interface_is_in_american_english():
    for path in [*SLICER_FILES, UI]:
        assert not re.search(r"\b(colour|cancelled\.|neighbour|grey)\b", path.read_text(), re.IGNORECASE), path


@pytest.mark.parametrize("path", SLICER_FILES, ids=NAMES)
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) < 400
