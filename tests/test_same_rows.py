"""That all nodes hold the rows which the server holds; who does not says so and is left out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.participant import Participant
from data.corpus import Corpus
from recipes.schema import Recipe
from server.ledger import lines
from server.reference import Reference
from strategies.failure import RunFailedError

CORPUS = Corpus(["a", "b", "c"], np.array([0, 1, 0]), ["x", "y"], np.array([0, 0, 1]), ["d", "e"])
CHANGES = {
    "a text": {"texts": ["a", "b", "d"]},
    "the cut between two texts": {"texts": ["ab", "", "c"]},
    "their order": {"texts": ["b", "a", "c"]},
    "a label": {"labels": np.array([0, 1, 1])},
    "a class": {"classes": ["x", "z"]},
    "a domain": {"domains": np.array([0, 1, 1])},
    "the splits": {"splits": np.array([0, 1, 2])},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_any_other_rows_have_another_digest(changes):
    assert replace(CORPUS, **changes).digest != CORPUS.digest


@given(source=st.text())
def test_the_place_where_rows_were_found_has_no_say(source):
    assert replace(CORPUS, source=source, dropped={"duplicates": 1}).digest == CORPUS.digest


def other_rows(client):
    """The data of one client differ."""

    def make(self, recipe, number, path):
        real(self, recipe, number, path)
        self.corpus_digest = "0123456789ab" if number == client or client == "all" else self.corpus_digest

    real = Participant.__init__
    return make


CONFIG = {"recipe": "smoke", "rounds": 1, "override": "clients=3 data.rows=60 features.buckets=64"}


def test_a_node_with_other_rows_says_so_and_is_left_out(run_here, monkeypatch):
    monkeypatch.setattr(Participant, "__init__", other_rows(1))
    met, *_, end = lines(run_here("run", CONFIG, 3))
    ours = Reference(Recipe()).corpus
    assert met["corpus"] == ours
    assert (met["clients"], end["state"]) == ([0, 2], "completed")
    assert met["failed"] == {
        "1": f"DataError: this node holds rows 0123456789ab of corpus synthetic, the server rows {ours['digest']}: "
        "give both the same files"
    }


def test_a_federation_where_nobody_holds_the_servers_rows_ends_with_the_reason(run_here, monkeypatch):
    monkeypatch.setattr(Participant, "__init__", other_rows("all"))
    with pytest.raises(RunFailedError, match="0 of 3 clients can take part; client 0: DataError: this node holds rows"):
        run_here("run", CONFIG, 3)
