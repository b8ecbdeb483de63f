"""The models that one run federates side by side: the student, and its classical twin unless told otherwise."""

from quantum.student import Student, student, twin
from recipes.schema import StudentConfig


def arms(config: StudentConfig, n_classes: int) -> dict[str, Student]:
    """Arm → model."""
    return {"student": student(config, n_classes)} | ({"twin": twin(config, n_classes)} if config.twin else {})
