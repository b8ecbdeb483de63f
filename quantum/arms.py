"""The models that one run federates side by side: the student, and its classical twin unless told otherwise."""

from collections.abc import Callable

from quantum.circuit_student import CircuitStudent
from quantum.dressed import Dressed
from quantum.noop import NoopStudent
from quantum.student import Student
from quantum.twin import MlpTwin
from recipes.schema import StudentConfig


def arms(config: StudentConfig, n_classes: int, columns: int) -> dict[str, Student]:
    """Arm → model; `columns` are those of the encoder, which some read as they are."""
    return {"student": student(config, n_classes, columns)} | (
        {"twin": twin(config, n_classes, columns)} if config.twin else {}
    )


def student(config: StudentConfig, n_classes: int, columns: int = 0) -> Student:
    """The student a recipe names."""
    return STUDENTS[config.kind](config, n_classes, columns)


def twin(config: StudentConfig, n_classes: int, columns: int = 0) -> Student:
    """The classical control of that student: as many parameters within 5%, or the same without its circuit."""
    if config.kind == "layered":
        return Dressed(config, n_classes, columns, circuit=False)
    return MlpTwin(config, n_classes)


def circuit(config: StudentConfig, n_classes: int, columns: int) -> Student:
    """One over a feature a qubit."""
    return CircuitStudent(config, n_classes)


def layered(config: StudentConfig, n_classes: int, columns: int) -> Student:
    """One over all columns."""
    return Dressed(config, n_classes, columns, circuit=True)


def noop(config: StudentConfig, n_classes: int, columns: int) -> Student:
    """One over nothing."""
    return NoopStudent(config, n_classes)


STUDENTS: dict[str, Callable[[StudentConfig, int, int], Student]] = {
    "vqc": circuit,
    "qcnn": circuit,
    "reupload": circuit,
    "layered": layered,
    "noop": noop,
}
