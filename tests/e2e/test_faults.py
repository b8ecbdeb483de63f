"""Every fault of a node ends as it must, in one federation of real processes; bench/faults.py makes them happen.

Needs neither a container engine nor privileges: a line to the SuperLink is cut in a proxy, a disk is full by a limit on
the size of files.
"""

import pytest

from bench.faults import FAULTS, happened
from server.flower import started_for

pytestmark = [pytest.mark.faults, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Fault → what happened."""
    home = tmp_path_factory.mktemp("federation")
    yield {row["fault"]: row for row in happened(home)}
    assert started_for(home) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_as_it_must(fault, rows):
    assert rows.keys() == set(FAULTS)
    assert rows[fault]["passed"], rows[fault]
