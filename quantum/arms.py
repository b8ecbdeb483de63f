"""The models that one run federates side by side: the student, and its classical twin unless told otherwise."""

from collections.abc import Callable

from quantum.circuit_student import CircuitStudent
from quantum.noop import NoopStudent
from quantum.student import Student
from quantum.twin import MlpTwin
from recipes.schema import StudentConfig


def arms(config: StudentConfig, n_classes: int) -> dict[str, Student]:
    """Arm → model."""
    return {"student": student(config, n_classes)} | ({"twin": twin(config, n_classes)} if config.twin else {})


def student(config: StudentConfig, n_classes: int) -> Student:
    """The student a recipe names."""
    return STUDENTS[config.kind](config, n_classes)


def twin(config: StudentConfig, n_classes: int) -> Student:
    """The classical control of that student, with as many parameters within 5%."""
    return MlpTwin(config, n_classes)


STUDENTS: dict[str, Callable[[StudentConfig, int], Student]] = {
    "vqc": CircuitStudent,
    "qcnn": CircuitStudent,
    "reupload": CircuitStudent,
    "noop": NoopStudent,
}
