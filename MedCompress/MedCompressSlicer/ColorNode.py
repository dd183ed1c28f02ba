"""The color table of a volume: Slicer's own ones by name, those of the user with all their colors and names."""

import slicer

_COLOR_LIMIT = 65536  # a table of more colors is not made by hand, and is left to the scene


def describeColorNode(node) -> dict:
    """ID, name, and for a table that is not one of Slicer's own: [name, red, green, blue, opacity] of each color."""
    if node is None:
        return {}
    described = {"id": node.GetID(), "name": node.GetName()}
    # Slicer's own tables are in every scene and are not saved with it.
    if node.IsA("vtkMRMLColorTableNode") and node.GetSaveWithScene() and node.GetNumberOfColors() <= _COLOR_LIMIT:
        described["colors"] = _colorsOf(node)
    return described


def findOrAddColorNode(described: dict):
    """The described color node of this scene; made if it was the user's and there is none with these colors.

    :return: a color node, or None if the scene has none of that name and the description holds no colors.
    """
    if not described:
        return None
    scene, colors = slicer.mrmlScene, described.get("colors")
    named = scene.GetNodesByClassByName("vtkMRMLColorNode", described["name"])
    named.UnRegister(None)  # the collection is the caller's
    candidates = [scene.GetNodeByID(described["id"]), *(named.GetItemAsObject(i) for i in range(
        named.GetNumberOfItems()))]
    for node in candidates:
        if node is not None and node.IsA("vtkMRMLColorNode") and node.GetName() == described["name"] and (
                colors is None or (node.IsA("vtkMRMLColorTableNode") and _colorsOf(node) == colors)):
            return node
    return _addColorNode(described["name"], colors) if colors is not None else None


def _colorsOf(node):
    rgba = [0.0] * 4
    colors = []
    for index in range(node.GetNumberOfColors()):
        node.GetColor(index, rgba)
        colors.append([node.GetColorName(index) or "", *rgba])
    return colors


def _addColorNode(name, colors):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", slicer.mrmlScene.GetUniqueNameByString(name))
    try:
        node.SetTypeToUser()
        node.SetNumberOfColors(len(colors))
        for index, color in enumerate(colors):
            node.SetColor(index, *color)
    except (TypeError, ValueError):
        slicer.mrmlScene.RemoveNode(node)
        raise
    node.NamesInitialisedOn()
    return node
