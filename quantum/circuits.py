"""The circuits by name. A builder takes plain numbers and words, has a default for each, and returns an `Ansatz`."""

from collections.abc import Callable

from quantum.ansatz import Ansatz
from quantum.layered import layered
from quantum.qcnn import qcnn
from quantum.reupload import reupload
from quantum.ring import ring
from quantum.vqc import vqc

CIRCUITS: dict[str, Callable[..., Ansatz]] = {
    builder.__name__: builder for builder in (vqc, qcnn, reupload, ring, layered)
}
