"""What a job costs, against IBM's own rule and the library that deals the shots out."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit_ibm_runtime.executor.calculate_twirling_shots import calculate_twirling_shots

from quantum.price import STOP_AT, executions, seconds, spend_for

GOLDEN = json.loads((Path(__file__).parent / "golden" / "ibm_cost.json").read_text())


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: row["setting"])
def test_prices_are_those_worked_out_from_ibms_rule(row):
    circuit = {key: row[key] for key in ("rep_delay", "circuit") if key in row}
    assert seconds(row["jobs"], row["executions"], **circuit) == pytest.approx(row["seconds"], abs=row["tolerance"])


@given(rows=st.integers(1, 100), shots=st.integers(1, 20000))
def test_twirled_executions_are_those_that_the_library_deals_out(rows, shots):
    randomisations, each = calculate_twirling_shots(shots, "auto", "auto")
    assert executions(rows, shots, twirled=True, calibrated=False) == rows * randomisations * each
    assert executions(rows, shots, twirled=False, calibrated=False) == rows * shots


def test_a_calibration_is_two_more_rows():
    assert executions(80, 1024, twirled=False, calibrated=True) == 82 * 1024


@given(st.floats(0.1, 1e5))
def test_the_spend_to_ask_for_leaves_a_tenth_unspent(price):
    assert price <= STOP_AT * spend_for(price) * (1 + 1e-12)
    assert spend_for(price) - 1 < price / STOP_AT
