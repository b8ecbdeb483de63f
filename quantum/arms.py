"""The models that one run federates side by side: the student, and its classical twin unless told otherwise."""

from collections.abc import Callable
from dataclasses import replace

from quantum.circuit_student import CircuitStudent
from quantum.dressed import Dressed
from quantum.noop import NoopStudent
from quantum.student import Student
from quantum.twin import MlpTwin
from recipes.schema import GeneratorConfig, StudentConfig


def arms(config: StudentConfig, n_classes: int, *, client: int = 0, columns: int = 0) -> dict[str, Student]:
    """Arm → model; a client may have a network of its own to generate, and some models read all of an encoder."""
    return {"student": student(config, n_classes, client, columns)} | (
        {"twin": twin(config, n_classes, client, columns)} if config.twin else {}
    )


def student(config: StudentConfig, n_classes: int, client: int = 0, columns: int = 0) -> Student:
    """The student a recipe names."""
    if config.kind == "generator":
        return generated(config.generator, n_classes, client)
    if config.kind == "layered":
        return Dressed(config, n_classes, columns, circuit=True)
    return STUDENTS[config.kind](config, n_classes)


def twin(config: StudentConfig, n_classes: int, client: int = 0, columns: int = 0) -> Student:
    """Its classical control: as many parameters within 5%; of a generator its hash, of dense layers these alone."""
    if config.kind == "generator":
        return generated(replace(config.generator, by="hash"), n_classes, client)
    if config.kind == "layered":
        return Dressed(config, n_classes, columns, circuit=False)
    return MlpTwin(config, n_classes)


def generated(config: GeneratorConfig, n_classes: int, client: int) -> Student:
    """A network of images; PyTorch is first needed here."""
    from quantum.image_student import ImageStudent

    return ImageStudent(config, n_classes, client)


STUDENTS: dict[str, Callable[[StudentConfig, int], Student]] = {
    "vqc": CircuitStudent,
    "qcnn": CircuitStudent,
    "reupload": CircuitStudent,
    "noop": NoopStudent,
}
