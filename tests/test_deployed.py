"""A trained student on every executor: what the table and the figure say, and what is refused."""

import json

import numpy as np
import pytest

from bench import deployed
from recipes.load import load as load_recipe
from recipes.section import InputError
from server.folder import as_yaml
from server.ledger import lines
from server.trained import trained

SMALL = {
    "rounds": 2,
    "clients": 2,
    "data": {"rows": 60, "reference_rows": 100},
    "features": {"buckets": 64},
    "student": {"kind": "layered", "readout": "dense", "entanglement": "circular", "qubits": 4, "reps": 2},
    "optimiser": {"kind": "minibatch", "learning_rate": 0.05, "batch": 16},
}


@pytest.fixture
def a_run(run_here):
    def make(name="trained", **more):
        config = {"recipe": json.dumps(SMALL | more)}
        folder = run_here(name, config, 2)
        (folder / "recipe.yaml").write_text(as_yaml(load_recipe(config["recipe"])))
        return folder

    return make


def test_the_exact_row_is_the_ledgers_and_noise_is_undone_in_part(a_run, tmp_path):
    folder = a_run()
    results = deployed.measure([folder], ["manila"], 10240, 0)
    found = {name: one for name, (one,) in results["executors"].items()}
    assert list(found) == ["exact", "10,240 shots", "manila", "manila, mitigated"]
    (score,) = (line for line in lines(folder) if line["kind"] == "score")
    for key in ("accuracy", "precision", "recall", "f1"):
        assert found["exact"][key] == pytest.approx(score["arms"]["student"][key])
    assert found["exact"]["apart"] == 0
    assert found["10,240 shots"]["apart"] < found["manila, mitigated"]["apart"] < found["manila"]["apart"]
    assert deployed.table(results).row_count == 4
    assert "67.85%" in deployed.note(results)
    deployed.draw(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_z_of_shots_is_that_of_the_exact_engine_but_for_the_draws(a_run):
    run = trained(a_run())
    student, arrays = run.arms["student"], run.state.arms["student"].arrays
    z = np.random.default_rng(0).uniform(-1, 1, (3, 4))
    rows = student.ansatz.rows(z, arrays["theta"].astype(float)[None])
    exact = deployed.expected("exact", student, rows, 1, 0)
    assert np.abs(deployed.expected("shots", student, rows, 100_000, 0) - exact).max() < 0.02


def test_what_would_take_hours_is_refused_with_the_estimate(a_run, monkeypatch):
    monkeypatch.setattr("bench.deployed.speed", lambda: 1e-3)
    with pytest.raises(InputError, match=r"^this would take about .* h \(manila about .* h\): name fewer --devices"):
        deployed.measure([a_run()], ["manila"], 10, 0)


def test_runs_that_are_no_seeds_of_one_recipe_are_refused(a_run):
    folder = a_run()
    with pytest.raises(InputError, match=r"^the runs must be of one recipe and of different seeds"):
        deployed.measure([folder, folder], ["manila"], 10, 0)
    with pytest.raises(InputError, match=r"trained a vqc; only a layered student"):
        deployed.measure([a_run("vqc", student={}, optimiser={"maxiter": 5})], ["manila"], 10, 0)
