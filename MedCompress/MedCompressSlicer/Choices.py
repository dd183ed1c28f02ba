"""What several parts of the panel do with their widgets."""

_SHOWN_ROWS = 8  # of a table, without scrolling


def showChoices(comboBox, choices, chosen):
    """Show choices and select one, the first if the wanted one is not there; tell nobody.

    :param choices: dict from what is stored to what is shown.
    :param chosen: what is stored.
    :return: what is selected; empty if there is nothing to choose.
    """
    wasBlocked = comboBox.blockSignals(True)
    if [comboBox.itemText(index) for index in range(comboBox.count)] != list(choices.values()):
        comboBox.clear()
        comboBox.addItems(list(choices.values()))
    stored = list(choices)
    comboBox.currentIndex = stored.index(chosen) if chosen in stored else 0 if stored else -1
    comboBox.blockSignals(wasBlocked)
    return choiceOf(comboBox, choices)


def choiceOf(comboBox, choices):
    """What is selected, as it is stored; empty if nothing is."""
    index = comboBox.currentIndex
    return list(choices)[index] if 0 <= index < len(choices) else ""


def enable(widget, reason, toolTip):
    """Let a widget be used, or not, and let its tool tip say why.

    :param reason: why it cannot be used: one sentence, empty if it can.
    :param toolTip: what it is for.
    """
    widget.enabled = not reason
    widget.toolTip = reason or toolTip


def fitHeight(tableWidget):
    """Make a table as high as its rows are, up to some; the rest is scrolled to."""
    rows = range(min(tableWidget.rowCount, _SHOWN_ROWS))
    height = tableWidget.horizontalHeader().height + 4 + sum(tableWidget.rowHeight(row) for row in rows)
    tableWidget.minimumHeight = tableWidget.maximumHeight = height


def whenPathEdited(pathLineEdit, slot):
    """Call a slot with each text that is typed or chosen. ctk's own signal passes over all that does not fit the name
    filters: an empty text, and a name that has no extension yet."""
    pathLineEdit.comboBox().connect("editTextChanged(QString)", slot)


def showPath(pathLineEdit, path):
    """Show a path, unless it is shown already: setting it would move the cursor."""
    if pathLineEdit.currentPath != path:
        pathLineEdit.currentPath = path
