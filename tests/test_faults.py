"""Every fault of an update has a name; a sound update has none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench import faults
from strategies.faults import unusable, wrong_arrays
from strategies.messages import Report

EXPECTED = {"theta": np.zeros(3, np.float32), "table": np.zeros((2, 2))}
SOUND = Report(
    client=0,
    arm="student",
    arrays=EXPECTED,
    examples=5,
    student_loss=0.5,
    student_accuracy=0.5,
    teacher_loss=0.4,
    teacher_accuracy=0.5,
    teacher_f1=0.5,
    maxiter=10,
    evaluations=10,
    shots=0,
    seconds=0.1,
)
NAN = float("nan")
WRONG = {
    "no rows": ({"examples": 0}, "student: trained on 0 rows"),
    "fewer than none": ({"examples": -3}, "student: trained on -3 rows"),
    "student's loss": ({"student_loss": NAN}, "student: student_loss is nan"),
    "teacher's loss": ({"teacher_loss": float("inf")}, "student: teacher_loss is inf"),
    "a divergence that is none": ({"divergence": NAN}, "student: divergence is nan"),
    "a divergence that none can be": ({"divergence": -9.0}, "student: divergence is -9.0"),
    "half a teacher": (
        {"teacher_loss": None, "teacher_f1": None},
        "student: has a teacher without its teacher_loss, teacher_f1",
    ),
    "an accuracy": ({"student_accuracy": NAN}, "student: student_accuracy is nan"),
    "a time": ({"seconds": NAN}, "student: seconds is nan"),
    "more rows than there are": ({"examples": 10**12}, "student: trained on 1000000000000 rows"),
    "a huge value": (
        {"arrays": EXPECTED | {"theta": np.array([0, -3e38, 1], np.float32)}},
        "student: theta holds 3e+38; no sound value is beyond 1e+06",
    ),
    "a speed": ({"tokens_per_second": float("inf")}, "student: tokens_per_second is inf"),
    "nothing": ({"arrays": {}}, "student: sent no arrays; expected table, theta"),
    "one missing": ({"arrays": {"theta": EXPECTED["theta"]}}, "student: sent theta; expected table, theta"),
    "one too many": ({"arrays": EXPECTED | {"x": np.zeros(1)}}, "student: sent table, theta, x; expected table, theta"),
    "a shape": (
        {"arrays": EXPECTED | {"theta": np.zeros(4, np.float32)}},
        "student: theta is float32[4]; expected float32[3]",
    ),
    "a type": ({"arrays": EXPECTED | {"theta": np.zeros(3)}}, "student: theta is float64[3]; expected float32[3]"),
    "a layout": (
        {"arrays": EXPECTED | {"table": np.zeros(4)}},
        "student: table is float64[4]; expected float64[2, 2]",
    ),
    "not numbers": (
        {"arrays": EXPECTED | {"table": np.array([[NAN, 1.0], [float("inf"), 2.0]])}},
        "student: table holds 2 values that are not finite",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), WRONG.values(), ids=WRONG)
def test_every_kind_of_fault_is_named(changes, reason):
    assert unusable(replace(SOUND, **changes), EXPECTED) == reason


def test_a_client_without_a_teacher_has_no_fault():
    none = dict.fromkeys(("teacher_loss", "teacher_accuracy", "teacher_f1"))
    assert unusable(replace(SOUND, **none), EXPECTED) is None


@given(
    theta=arrays(np.float32, 3, elements=st.floats(-1e6, 1e6, width=32)),
    examples=st.integers(1, 10**9),
    loss=st.floats(0, 1e300),
)
def test_a_sound_update_has_no_fault(theta, examples, loss):
    report = replace(SOUND, arrays=EXPECTED | {"theta": theta}, examples=examples, student_loss=loss)
    assert unusable(report, EXPECTED) is None


@pytest.mark.parametrize("number", faults.TOLD)
def test_a_node_after_a_fault_passes_only_when_it_is_back_where_it_has_no_other(number):
    client = next(client for client, script in faults.SCRIPT.items() if number in script)
    wanted = faults.TOLD[number][1]

    def line(*admitted, **failed):
        return {"arms": {"student": {"admitted": list(admitted)}}, "failed": failed}

    everyone = range(faults.CLIENTS - 1)
    others = [one for one in everyone if one != client]
    without = line(*others, **{str(client): wanted})
    back, gone = ({number: without, number + 1: line(*after)} for after in (everyone, others))
    due = number + 1 not in faults.SCRIPT[client]
    assert faults.told(number, back, whole=True)["passed"] == due
    assert faults.told(number, gone, whole=True)["passed"] == (not due)
    assert f"client {client} is back in round {number + 1}" in faults.told(number, back, whole=True)["happened"]
    assert number < faults.ROUNDS


@given(table=arrays(np.float64, (3, 3)))
def test_any_number_that_is_not_finite_is_counted(table):
    said = wrong_arrays({"t": table}, {"t": np.zeros((3, 3))})
    bad = sum(not np.isfinite(value) for value in table.flat)
    if bad:
        assert said == f"t holds {bad} values that are not finite"
    else:
        assert (said is None) == all(abs(value) <= 1e6 for value in table.flat)
