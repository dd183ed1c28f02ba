"""Small volumes and matrices that the tests of all image formats share."""

import numpy as np

from MedCompressLib.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1, 1, 1])
OBLIQUE = np.array([[0.7, 0.02, -0.3, 11.1], [-0.1, 0.8, 0.4, -222.2], [0.2, -0.3, 2.9, 1 / 3], [0, 0, 0, 1]])
SMALL = np.arange(24, dtype="<i2").reshape(2, 3, 4)


def random_voxels(shape, dtype, seed=0):
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(count), dtype).reshape(shape).copy()


def without_metadata(volume):
    return Volume(volume.voxels, volume.ijk_to_ras, volume.axes, volume.sequence)


def itk_matrix(image):
    dimension = image.GetDimension()
    matrix = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)
    matrix[:3, :3] = (direction @ np.diag(image.GetSpacing()))[:3, :3]
    matrix[:3, 3] = image.GetOrigin()[:3]
    return LPS_TO_RAS @ matrix
