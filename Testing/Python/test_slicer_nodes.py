"""What a volume node carries goes through a file and comes back, on real MRML."""

import numpy as np
import pytest

pytest_plugins = ["harness.fixtures"]

RIGHT_HANDED = np.array([[-0.7, 0, 0, 12.5], [0, -0.8, 0, -30.25], [0, 0, 2.5, 100.1], [0, 0, 0, 1]])
LEFT_HANDED = np.array([[-0.7, 0.1, 0, 12.5], [0.1, 0.7, 0.02, -30.25], [0, 0.03, 2.5, 1 / 3], [0, 0, 0, 1]])
DTYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]


def addVolume(dtype="int16", ijkToRAS=RIGHT_HANDED, name="CT", className=None, components=0):
    import slicer

    shape = (4, 9, 11, components) if components else (4, 9, 11)
    voxels = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS, name, className)


def ijkToRASOf(node):
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def throughFile(logic, node, tmp_path, codec="raw", **kwargs):
    path = tmp_path / "volume.mcz"
    logic.compressVolume(node, path, codec=codec, overwrite=True)
    return logic.decompressFile(path, **kwargs)


def assertSame(node, other):
    from MedCompressSlicer.VolumeNode import voxelsOfNode

    a, b = voxelsOfNode(node), voxelsOfNode(other)
    assert other.GetClassName() == node.GetClassName()
    assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    assert np.array_equal(ijkToRASOf(node), ijkToRASOf(other))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ijkToRAS", [RIGHT_HANDED, LEFT_HANDED], ids=["right-handed", "left-handed, sheared"])
def test_voxels_and_geometry(logic, tmp_path, dtype, ijkToRAS):
    node = addVolume(dtype, ijkToRAS)
    assertSame(node, throughFile(logic, node, tmp_path))


def test_not_a_number_and_negative_zero(logic, tmp_path):
    import slicer

    node = addVolume("float32")
    slicer.util.arrayFromVolume(node)[0, 0, :3] = np.nan, -0.0, np.inf
    assertSame(node, throughFile(logic, node, tmp_path))


@pytest.mark.parametrize("className, components", [
    ("vtkMRMLLabelMapVolumeNode", 0), ("vtkMRMLVectorVolumeNode", 3), ("vtkMRMLVectorVolumeNode", 4)])
def test_other_classes(logic, tmp_path, className, components):
    node = addVolume("uint8", className=className, components=components)
    restored = throughFile(logic, node, tmp_path)
    assertSame(node, restored)
    assert restored.GetDisplayNode().GetClassName() == node.GetDisplayNode().GetClassName()


def test_vector_type(logic, tmp_path):
    node = addVolume("uint8", className="vtkMRMLVectorVolumeNode", components=3)
    node.SetVoxelVectorType(node.VoxelVectorTypeColorRGB)
    assert throughFile(logic, node, tmp_path).GetVoxelVectorType() == node.VoxelVectorTypeColorRGB


def test_single_slice_keeps_its_type(logic, tmp_path):
    import slicer

    node = slicer.util.addVolumeFromArray(np.ones((1, 4, 5), np.uint8), RIGHT_HANDED)
    assertSame(node, throughFile(logic, node, tmp_path))


def test_extent_that_does_not_start_at_zero(logic, tmp_path):
    """The first voxel stays where it is in the patient although the restored volume counts from zero."""
    import slicer

    node = addVolume()
    image = node.GetImageData()
    image.SetExtent(5, 15, 2, 10, -1, 2)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(LEFT_HANDED))
    restored = throughFile(logic, node, tmp_path)
    assert restored.GetImageData().GetExtent() == (0, 10, 0, 8, 0, 3)
    assert np.array_equal(slicer.util.arrayFromVolume(restored), slicer.util.arrayFromVolume(node))
    assert np.allclose(ijkToRASOf(restored) @ [0, 0, 0, 1], LEFT_HANDED @ [5, 2, -1, 1], atol=0)


def test_attributes_quantity_units_and_description(logic, tmp_path):
    import slicer

    node = addVolume()
    node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    node.SetAttribute("Größe", "µm")
    node.SetDescription("A <description> & more")
    quantity, units = slicer.vtkCodedEntry(), slicer.vtkCodedEntry()
    quantity.SetValueSchemeMeaning("112031", "DCM", "Attenuation Coefficient")
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node.SetVoxelValueQuantity(quantity)
    node.SetVoxelValueUnits(units)
    restored = throughFile(logic, node, tmp_path)
    assert {n: restored.GetAttribute(n) for n in restored.GetAttributeNames()} == {
        "DICOM.instanceUIDs": "1.2.3 1.2.4", "Größe": "µm"}
    assert restored.GetDescription() == node.GetDescription()
    assert restored.GetVoxelValueQuantity().GetAsString() == quantity.GetAsString()
    assert restored.GetVoxelValueUnits().GetAsString() == units.GetAsString()


def test_display_from_file(logic, tmp_path):
    node = addVolume()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(350, 40)
    display.SetAutoThreshold(False)
    display.SetApplyThreshold(True)
    display.SetThreshold(10, 90)
    display.SetInterpolate(False)
    display.AddWindowLevelPreset(2000, 300)
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    restored = throughFile(logic, node, tmp_path).GetDisplayNode()
    for getter in ("GetWindow", "GetLevel", "GetAutoWindowLevel", "GetLowerThreshold", "GetUpperThreshold",
                   "GetApplyThreshold", "GetAutoThreshold", "GetInterpolate", "GetColorNodeID",
                   "GetNumberOfWindowLevelPresets"):
        assert getattr(restored, getter)() == getattr(display, getter)(), getter
    assert (restored.GetWindowPreset(0), restored.GetLevelPreset(0)) == (2000, 300)


def test_automatic_window_stays_automatic(logic, tmp_path):
    node = addVolume()
    node.GetDisplayNode().AutoWindowLevelOn()
    restored = throughFile(logic, node, tmp_path).GetDisplayNode()
    assert restored.GetAutoWindowLevel()
    assert restored.GetWindow() == node.GetDisplayNode().GetWindow()


def addColors(name, red):
    import slicer

    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    colors.SetTypeToUser()
    colors.SetNumberOfColors(3)
    for index, organ in enumerate(("background", "liver", "spleen")):
        colors.SetColor(index, organ, red, 0.5, 0.25 * index, 1.0)
    colors.NamesInitialisedOn()
    return colors


def test_colors_of_the_user_travel_in_the_file(logic, tmp_path):
    import slicer

    node = addVolume("uint8", className="vtkMRMLLabelMapVolumeNode")
    node.GetDisplayNode().SetAndObserveColorNodeID(addColors("Organs", 1.0).GetID())
    path = tmp_path / "labels.mcz"
    logic.compressVolume(node, path, codec="raw")
    slicer.mrmlScene.Clear()
    addColors("Other", 1.0)  # gets the ID that Organs had
    addColors("Organs", 0.0)  # the name, but not the colors
    colors = logic.decompressFile(path).GetDisplayNode().GetColorNode()
    assert colors.GetName() == "Organs_1"
    assert [colors.GetColorName(index) for index in range(3)] == ["background", "liver", "spleen"]
    rgba = [0.0] * 4
    colors.GetColor(2, rgba)
    assert rgba == pytest.approx([1.0, 0.5, 0.5, 1.0], abs=1 / 255)
    slicer.mrmlScene.Clear()
    colors = addColors("Organs", 1.0)
    assert logic.decompressFile(path).GetDisplayNode().GetColorNode() is colors, "the same table is not added twice"


def test_colors_that_are_not_defined_and_terminology_travel_too(logic, tmp_path):
    import slicer

    liver = "SCT", "123037004", "Anatomical Structure", "SCT", "10200004", "Liver"

    def addTable():
        colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "Organs")
        colors.SetTypeToUser()
        colors.SetNumberOfColors(4)
        colors.SetColor(1, "liver", 0.5, 0.25, 0.0, 1.0)
        colors.SetTerminology(1, *liver)
        colors.SetColor(3, "spleen", 1.0, 0.0, 0.0, 1.0)
        return colors

    node = addVolume("uint8", className="vtkMRMLLabelMapVolumeNode")
    node.GetDisplayNode().SetAndObserveColorNodeID(addTable().GetID())
    path = tmp_path / "labels.mcz"
    logic.compressVolume(node, path, codec="raw")
    slicer.mrmlScene.Clear()
    colors = logic.decompressFile(path).GetDisplayNode().GetColorNode()
    assert [colors.GetColorDefined(index) for index in range(4)] == [False, True, False, True]
    original = addTable()
    assert [colors.GetTerminologyAsString(index) for index in range(4)] == [
        original.GetTerminologyAsString(index) for index in range(4)]
    assert colors.GetTerminologyType(1).GetCodeMeaning() == "Liver"
    assert logic.decompressFile(path).GetDisplayNode().GetColorNode() is colors


def test_slicers_own_colors_are_found_again(logic, tmp_path):
    import MedCompressLib as mc

    node = addVolume("uint8", className="vtkMRMLLabelMapVolumeNode")
    node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRainbow")
    path = tmp_path / "labels.mcz"
    logic.compressVolume(node, path, codec="raw")
    assert "colors" not in mc.info(path)["metadata"]["Slicer"]["display"]["color"]
    assert logic.decompressFile(path).GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeRainbow"


def test_round_trip_is_put_beside_the_original(logic):
    import slicer

    node = addVolume(name="Head")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    node.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    node.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeIron")
    restored, report = logic.roundTrip(node, codec="raw")
    assert report.identical
    assert restored.GetName() == "Head restored"
    assert restored.GetTransformNodeID() == transform.GetID()
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(restored)) == folder
    assert restored.GetDisplayNode() is not node.GetDisplayNode()
    assert restored.GetDisplayNode().GetColorNodeID() == "vtkMRMLColorTableNodeIron"
    assert logic.roundTrip(node, codec="raw")[0].GetName() != "Head restored", "names are unique"


def test_transform_is_taken_only_if_it_is_the_same(logic, tmp_path):
    import slicer
    import vtk

    node = addVolume()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    node.SetAndObserveTransformNodeID(transform.GetID())
    path = tmp_path / "volume.mcz"
    logic.compressVolume(node, path, codec="raw")
    assert logic.decompressFile(path).GetTransformNodeID() == transform.GetID()
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 5.0)
    transform.SetMatrixTransformToParent(matrix)
    assert logic.decompressFile(path).GetTransformNodeID() is None


def test_folder_in_the_subject_hierarchy_is_found_again(logic, tmp_path):
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node = addVolume()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    item = hierarchy.GetItemByDataNode(node)
    hierarchy.SetItemParent(item, study)
    hierarchy.SetItemUID(item, "DICOM", "1.2.3.4")
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    path = tmp_path / "volume.mcz"
    logic.compressVolume(node, path, codec="raw")
    copy = hierarchy.GetItemByDataNode(logic.decompressFile(path))
    assert hierarchy.GetItemParent(copy) == study
    assert hierarchy.GetItemAttribute(copy, "DICOM.Modality") == "CT"
    assert hierarchy.GetItemUID(copy, "DICOM") == "", "two items must not claim one UID"
    slicer.mrmlScene.RemoveNode(node)
    copy = hierarchy.GetItemByDataNode(logic.decompressFile(path))
    assert hierarchy.GetItemUID(copy, "DICOM") == "1.2.3.4"
    hierarchy.RemoveItem(patient)
    copy = hierarchy.GetItemByDataNode(logic.decompressFile(path))
    assert hierarchy.GetItemParent(copy) == hierarchy.GetSceneItemID()


def test_input_is_not_touched(logic, tmp_path):
    node = addVolume()
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName("/somewhere/else.nrrd")
    before = node.GetMTime(), node.GetImageData().GetMTime(), node.GetDisplayNode().GetMTime()
    throughFile(logic, node, tmp_path)
    assert (node.GetMTime(), node.GetImageData().GetMTime(), node.GetDisplayNode().GetMTime()) == before
    assert node.GetStorageNode().GetFileName() == "/somewhere/else.nrrd"


@pytest.mark.parametrize("className, words", [
    ("vtkMRMLDiffusionWeightedVolumeNode", "Diffusion-weighted"),
    ("vtkMRMLDiffusionTensorVolumeNode", "tensor"),
    ("vtkMRMLStreamingVolumeNode", "Streaming"),
    ("vtkMRMLModelNode", "select a scalar"),
    ("vtkMRMLScalarVolumeNode", "no voxels"),
])
def test_refused_nodes(logic, tmp_path, className, words):
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass(className, "Odd")
    with pytest.raises(ValueError, match=words):
        logic.compressVolume(node, tmp_path / "odd.mcz")
    assert list(tmp_path.iterdir()) == []


def test_nothing_selected(logic, tmp_path):
    with pytest.raises(ValueError, match="Select a volume"):
        logic.compressVolume(None, tmp_path / "none.mcz")


@pytest.mark.parametrize("vtkType", ["VTK_LONG_LONG", "VTK_UNSIGNED_LONG", "VTK_BIT"])
def test_refused_voxel_types(logic, tmp_path, vtkType):
    import vtk

    node = addVolume()
    image = vtk.vtkImageData()
    image.SetDimensions(8, 8, 8)
    image.AllocateScalars(getattr(vtk, vtkType), 1)
    node.SetAndObserveImageData(image)
    with pytest.raises(ValueError, match="Cast Scalar Volume"):
        logic.compressVolume(node, tmp_path / "odd.mcz")


def test_files_of_others(logic, tmp_path):
    """Files that Python wrote have no Slicer properties; what Slicer cannot show is refused with the reason."""
    import slicer

    import MedCompressLib as mc

    path = tmp_path / "a.mcz"
    mc.write(path, np.zeros((6, 7, 8), np.uint8), codec="raw")
    node = logic.decompressFile(path)
    assert (node.GetClassName(), node.GetName()) == ("vtkMRMLScalarVolumeNode", "a")
    mc.write(path, np.zeros((6, 7, 8, 3), np.uint8), codec="raw", overwrite=True)
    assert logic.decompressFile(path).GetClassName() == "vtkMRMLVectorVolumeNode"
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    for array, words in ((np.zeros((3, 6, 7, 8), np.uint64), "64-bit"), (np.zeros((6, 7, 8), np.int64), "64-bit")):
        mc.write(path, array, codec="raw", overwrite=True)
        with pytest.raises(ValueError, match=words):
            logic.decompressFile(path)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == count


@pytest.mark.parametrize("properties", [
    [], {"nodeClass": "vtkMRMLCameraNode"}, {"attributes": ["x"]}, {"display": {"properties": {"Window": "wide"}}},
    {"display": {"color": {"id": "x", "name": "y", "colors": [1]}}},
    {"units": "nonsense"}, {"hierarchy": {"parents": [1]}}, {"name": 5}])
def test_strange_properties_leave_no_half_made_node(logic, tmp_path, properties):
    """A file may say anything under "Slicer": the voxels load, or one error is raised and the scene is as before."""
    import slicer

    import MedCompressLib as mc

    path = tmp_path / "strange.mcz"
    mc.write(path, mc.Volume(np.ones((4, 5, 6), np.int16), metadata={"Slicer": properties}), codec="raw")
    try:
        node = logic.decompressFile(path)
    except ValueError as error:
        assert "Slicer" in str(error)
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLDisplayNode") == 0
    else:
        assert node.IsA("vtkMRMLScalarVolumeNode")
