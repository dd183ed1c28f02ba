"""The color table of a volume: Slicer's own ones by name, those of the user with all their colors and names."""

import slicer

_COLOR_LIMIT = 65536  # a table of more colors is not made by hand, and is left to the scene
_TABLE = ("colors", "undefined", "terminology")


def describeColorNode(node) -> dict:
    """ID and name; for a table that is not one of Slicer's own also [name, red, green, blue, opacity] of each color,
    which of them are undefined, and the terminology of those that have one."""
    if node is None:
        return {}
    described = {"id": node.GetID(), "name": node.GetName()}
    # Slicer's own tables are in every scene and are not saved with it.
    if node.IsA("vtkMRMLColorTableNode") and node.GetSaveWithScene() and node.GetNumberOfColors() <= _COLOR_LIMIT:
        described |= _table(node)
    return described


def findOrAddColorNode(described: dict):
    """The described color node of this scene; made if it was the user's and there is none with these colors.

    :return: a color node, or None if the scene has none of that name and the description holds no colors.
    """
    if not described:
        return None
    scene, table = slicer.mrmlScene, {key: described[key] for key in _TABLE if key in described}
    named = scene.GetNodesByClassByName("vtkMRMLColorNode", described["name"])
    named.UnRegister(None)  # the collection is the caller's
    candidates = [scene.GetNodeByID(described["id"]), *(named.GetItemAsObject(i) for i in range(
        named.GetNumberOfItems()))]
    for node in candidates:
        if node is not None and node.IsA("vtkMRMLColorNode") and node.GetName() == described["name"] and (
                not table or (node.IsA("vtkMRMLColorTableNode") and _table(node) == table)):
            return node
    return _addColorNode(described["name"], **table) if "colors" in table else None


def _table(node) -> dict:
    rgba = [0.0] * 4
    colors, undefined, terminology = [], [], {}
    for index in range(node.GetNumberOfColors()):
        node.GetColor(index, rgba)
        colors.append([node.GetColorName(index) or "", *rgba])
        if not node.GetColorDefined(index):
            undefined.append(index)
        meaning = node.GetTerminologyAsString(index)
        if meaning.strip("~^|"):
            terminology[str(index)] = meaning
    return {"colors": colors} | ({"undefined": undefined} if undefined else {}) | (
        {"terminology": terminology} if terminology else {})


def _addColorNode(name, colors, undefined=(), terminology=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", slicer.mrmlScene.GetUniqueNameByString(name))
    try:
        node.SetTypeToUser()
        node.SetNumberOfColors(len(colors))
        for index, color in enumerate(colors):
            node.SetColor(index, *color)
        for index in undefined:
            node.SetColorDefined(index, False)
        for index, meaning in (terminology or {}).items():
            node.SetTerminologyFromString(int(index), meaning)
    except (TypeError, ValueError):
        slicer.mrmlScene.RemoveNode(node)
        raise
    node.NamesInitialisedOn()
    return node
