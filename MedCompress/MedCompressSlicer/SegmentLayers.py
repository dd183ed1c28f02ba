"""Segments as layers of labels, and as text in the metadata of the file that they travel in. Also runs outside Slicer.

Segments may overlap, so they are spread over layers, in each of which no two overlap. The layers are compressed like
any label map and stand, as text, beside what describes the segments.
"""

import base64
from dataclasses import dataclass

import numpy as np

import MedCompressLib as mc

_LABELS = 255  # of a layer


@dataclass(eq=False)
class SegmentLayers:
    """Segments on the grid of a volume.

    described - Plain JSON: {name, segments: [{name, color, layer, label}, ...]}.
    layers - List of uint8 arrays (k, j, i); 0 is no segment.
    """

    described: dict
    layers: list

    def add(self, mask, name, color):
        """Take in one more segment.

        :param mask: bool array (k, j, i).
        """
        free = (number for number, layer in enumerate(self.layers)
                if layer.max(initial=0) < _LABELS and not layer[mask].any())
        number = next(free, len(self.layers))
        if number == len(self.layers):
            self.layers.append(np.zeros(mask.shape, np.uint8))
        layer = self.layers[number]
        label = int(layer.max(initial=0)) + 1 if mask.any() else 0
        layer[mask] = label
        self.described["segments"].append({"name": name, "color": list(color), "layer": number, "label": label})

    def asJSON(self) -> dict:
        """All of it as plain JSON."""
        axis = mc.SequenceAxis("layer", "", [str(number) for number in range(len(self.layers))])
        data = mc.compress(mc.Volume(np.stack(self.layers), np.eye(4), "tkji", axis))
        return {**self.described, "layers": base64.b64encode(data).decode("ascii")}

    @classmethod
    def fromJSON(cls, stored, shape):
        """What `asJSON` made.

        :param stored: whatever stands in a file.
        :param shape: (k, j, i) of the volume that the segments belong to.
        :raises ValueError: it is not that.
        """
        try:
            segments, data = stored["segments"], base64.b64decode(stored["layers"], validate=True)
            found = mc.info(data)["shape"]  # looked at before memory is taken
            if tuple(found[1:]) != tuple(shape) or len(found) != 4 or found[0] > len(segments):
                raise ValueError(f"layers of shape {found}")
            layers = list(mc.decompress(data).voxels)
            for segment in segments:
                red, green, blue = (float(part) for part in segment["color"])
                if not layers[segment["layer"]].max() >= segment["label"] >= 0:
                    raise ValueError("a label that is not there")
                segment.update(name=str(segment["name"]), color=[red, green, blue])
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"The segments in this file are not valid ({error}).") from error
        return cls({"name": str(stored.get("name") or ""), "segments": segments}, layers)
