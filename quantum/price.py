"""What a job on an IBM QPU costs, known before it is submitted; all in QPU seconds.

    seconds = 2·jobs + (rep_delay + circuit)·executions

IBM's estimate for job and batch mode, where usage is the time the QPU is locked (documentation, "Estimate job run
time").
"""

from math import ceil

from recipes.section import InputError

JOB_SECONDS = 2.0  # of a job, whatever is in it
REP_DELAY_SECONDS = 250e-6  # between two executions, the default of IBM's backends
CIRCUIT_SECONDS = 100e-6  # of one execution, where nothing is known: IBM's quick rule, 2 + 0.00035·N
MOST_EXECUTIONS = 5_000_000  # of a job: the smaller of two documented limits
STOP_AT = 0.9  # of what may be spent: beyond it no job starts
TIME_LIMIT = 1.5  # times its price, and the service ends a job


def seconds(
    jobs: int, executions: int, *, rep_delay: float = REP_DELAY_SECONDS, circuit: float = CIRCUIT_SECONDS
) -> float:
    """QPU seconds of so many jobs that execute circuits so often in all."""
    return JOB_SECONDS * jobs + (rep_delay + circuit) * executions


def executions(rows: int, shots: int, *, twirled: bool, calibrated: bool) -> int:
    """Executions of one job: a circuit per row, and two more that measure the read-out errors.

    Twirling deals the shots out to randomisations of max(64, ⌈shots/32⌉) each and rounds the number of them up.
    """
    per = max(64, ceil(shots / 32)) if twirled else 1
    found = (rows + 2 * calibrated) * per * ceil(shots / per)
    if found > MOST_EXECUTIONS:
        raise InputError(
            f"{rows:,} rows × {shots:,} shots are {found:,} executions; IBM takes at most {MOST_EXECUTIONS:,} a job: "
            f"lower shots or data.rows"
        )
    return found


def spend_for(price: float) -> int:
    """The smallest whole --spend under which work of this price is done before `STOP_AT` of it is used."""
    return ceil(price / STOP_AT)
