"""A checkpoint: the whole state, whole or not at all, and only for the recipe that wrote it."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from recipes.section import InputError
from server import checkpoint
from strategies.state import ArmState, State

ARRAYS = st.dictionaries(
    st.text("abc/_0", min_size=1, max_size=6),
    st.sampled_from(["float32", "float64", "int64", "bool"]).flatmap(
        lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    ),
    max_size=3,
)
LOSS = st.floats(allow_nan=False, allow_infinity=False)
ARMS = st.builds(
    ArmState,
    arrays=ARRAYS,
    ahead=ARRAYS,
    client_losses=st.dictionaries(st.integers(0, 99), LOSS, max_size=3),
    reference_losses=st.lists(LOSS, max_size=3),
    gaps=st.lists(st.none() | LOSS, max_size=3),
    converged=st.booleans(),
)
STATES = st.builds(
    State,
    round=st.integers(1, 10000),
    shared=ARRAYS,
    arms=st.dictionaries(st.sampled_from(["student", "twin"]), ARMS, min_size=1),
    visited=st.dictionaries(st.integers(0, 99), st.integers(0, 99), max_size=3),
    slowest_seconds=st.floats(0, 1e6),
    teacher=ARRAYS,
    teacher_round=st.integers(0, 10000),
)


def state(number, theta=0.0):
    return State(round=number, arms={"student": ArmState(arrays={"theta": np.full(3, theta, np.float32)})})


def assert_same_arrays(found, saved):
    assert found.keys() == saved.keys()
    for name, array in saved.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@settings(max_examples=40)
@given(saved=STATES)
def test_a_state_comes_back_to_the_bit(saved, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    checkpoint.save(folder, saved, "digest")
    found = checkpoint.newest(folder, "digest")
    assert_same_arrays(found.shared, saved.shared)
    assert_same_arrays(found.teacher, saved.teacher)
    assert found.arms.keys() == saved.arms.keys()
    for name, arm in saved.arms.items():
        assert_same_arrays(found.arms[name].arrays, arm.arrays)
        assert_same_arrays(found.arms[name].ahead, arm.ahead)
        for part in ("client_losses", "reference_losses", "gaps", "converged"):
            assert getattr(found.arms[name], part) == getattr(arm, part)
    for part in ("round", "visited", "slowest_seconds", "teacher_round"):
        assert getattr(found, part) == getattr(saved, part)


def test_arrays_are_saved_by_value_whatever_their_layout(tmp_path):
    table = np.arange(12.0).reshape(3, 4)
    saved = state(1)
    saved.shared = {"fortran": np.asfortranarray(table), "transposed": table.T, "strided": table[::2, ::-1]}
    checkpoint.save(tmp_path, saved, "digest")
    for name, array in checkpoint.newest(tmp_path, "digest").shared.items():
        np.testing.assert_array_equal(array, saved.shared[name])


def test_a_run_without_a_checkpoint_has_none(tmp_path):
    assert checkpoint.newest(tmp_path, "digest") is None


@pytest.mark.parametrize("numbers", [range(1, 6), [9, 10, 11], [99, 100, 101], [9998, 9999, 10000]])
def test_the_newest_stay_and_the_last_is_read(numbers, tmp_path):
    for number in numbers:
        checkpoint.save(tmp_path, state(number), "digest")
        assert checkpoint.newest(tmp_path, "digest").round == number
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {f"round-{number:04d}" for number in list(numbers)[-checkpoint.KEPT :]}


def test_a_round_that_is_repeated_replaces_its_checkpoint(tmp_path):
    for theta in (1.0, 2.0):
        checkpoint.save(tmp_path, state(3, theta), "digest")
    assert checkpoint.newest(tmp_path, "digest").arms["student"].arrays["theta"][0] == 2.0


def test_a_save_that_breaks_off_leaves_the_last_whole_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, state(1, 1.0), "digest")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(tmp_path, state(2, 2.0), "digest")
    assert checkpoint.newest(tmp_path, "digest").round == 1
    monkeypatch.undo()
    checkpoint.save(tmp_path, state(2, 2.0), "digest")
    assert checkpoint.newest(tmp_path, "digest").round == 2
    assert not (tmp_path / "checkpoints" / "writing").exists()


def damage(folder, **changes):
    """The state.json of round 2, changed."""
    checkpoint.save(folder, state(1), "digest")
    checkpoint.save(folder, state(2), "digest")
    file = folder / "checkpoints" / "round-0002" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


AGAIN = "run again with: qflock run {folder}/recipe.yaml"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"recipe_digest": "other"}, f"belongs to recipe other, this run is digest: {AGAIN}"),
        ({"schema": 99}, f"has schema 99, this qflock reads {checkpoint.SCHEMA}: {AGAIN}"),
        ({"schema": 0, "arms": "as they once were"}, f"has schema 0, this qflock reads {checkpoint.SCHEMA}: {AGAIN}"),
    ],
)
def test_a_checkpoint_of_another_recipe_or_version_is_refused(change, line, tmp_path):
    damage(tmp_path, **change)
    with pytest.raises(InputError) as refused:
        checkpoint.newest(tmp_path, "digest")
    assert str(refused.value) == f"{tmp_path}/checkpoints/round-0002 {line.format(folder=tmp_path)}"


@pytest.mark.parametrize("name", ["state.json", "arrays.safetensors"])
@pytest.mark.parametrize("kept", [0, 0.5, None], ids=["empty", "half", "gone"])
def test_a_damaged_checkpoint_is_one_line_and_without_it_the_round_before_is_read(name, kept, tmp_path):
    damage(tmp_path)
    file = tmp_path / "checkpoints" / "round-0002" / name
    if kept is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: int(kept * file.stat().st_size)])
    with pytest.raises(InputError, match=r"^\S*round-0002 is damaged \([^\n]+\); delete it to go on from") as refused:
        checkpoint.newest(tmp_path, "digest")
    assert "\n" not in str(refused.value)
    shutil.rmtree(file.parent)
    assert checkpoint.newest(tmp_path, "digest").round == 1


@pytest.mark.parametrize("facts", ["[]", "null", "3", '{"schema": 2}', '{"schema": 2, "arms": {"student": {}}}'])
def test_a_state_that_is_no_state_is_damaged_too(facts, tmp_path):
    damage(tmp_path)
    (tmp_path / "checkpoints" / "round-0002" / "state.json").write_text(facts)
    with pytest.raises(InputError, match="is damaged"):
        checkpoint.newest(tmp_path, "digest")


def test_what_a_killed_run_was_writing_is_cleared_and_a_user_s_copy_is_left_alone(tmp_path):
    for name in ("writing", "round-0001.copy"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert checkpoint.newest(tmp_path, "digest") is None
    (tmp_path / "checkpoints" / "writing" / "half").write_text("")
    for number in (1, 2, 3):
        checkpoint.save(tmp_path, state(number), "digest")
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"round-0001.copy", "round-0002", "round-0003"}


def test_a_checkpoint_holds_no_pickle(tmp_path):
    checkpoint.save(tmp_path, state(1), "digest")
    names = {path.name for path in (tmp_path / "checkpoints").rglob("*") if path.is_file()}
    assert names == {"arrays.safetensors", "state.json"}
