"""What a sweep plans, skips, resumes and retries, with run folders and processes that no Flower made."""

import fcntl
import signal
import sys
from itertools import pairwise, product
from pathlib import Path
from urllib.error import URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recipes.load import load
from recipes.section import InputError, RecipeError
from server.jobs import finish, only_one, started, work
from server.sweep import grid, planned, runs_in, split, stamp, standings
from strategies.failure import RunFailedError

LAWS = ["regulate.law=none", "regulate.law=adaptive"]


class FakeRuns:
    """Starts nothing: writes the folder that each command would leave, two looks later; counts them."""

    def __init__(self, sweep, run_of, ends=lambda recipe, words: "completed"):
        self.sweep, self.run_of, self.ends = sweep, run_of, ends
        self.commands, self.going, self.most = [], set(), 0

    def __call__(self, words, log):
        recipe = load(f"{words[1]}/recipe.yaml") if words[0] == "resume" else recipe_of(words)
        self.commands.append((words[0], recipe.seed, recipe.regulate.law))
        return FakeProcess(self, recipe, words, log)


class FakeProcess:
    def __init__(self, runs, recipe, words, log):
        self.runs, self.recipe, self.words, self.log, self.looks, self.code = runs, recipe, words, log, 0, None
        runs.going.add(self)
        runs.most = max(runs.most, len(runs.going))

    def poll(self):
        self.looks += 1
        if self.looks == 2:
            said = self.runs.ends(self.recipe, self.words)
            self.write(said if said in ("completed", "failed") else "")
            self.stop({"completed": 0, "failed": 1}.get(said, 1))
        return self.code

    def write(self, said):
        import shutil

        folder = self.runs.sweep.folder / f"run-{self.recipe.digest()}"
        shutil.rmtree(folder, ignore_errors=True)
        self.runs.run_of(folder, self.recipe, {"student": 0.8 + self.recipe.seed / 100, "twin": 0.8}, end=said)
        self.log.write_text("" if said == "completed" else "Traceback\nfailed: client 3 is out of memory\n")

    def stop(self, code):
        self.code = code
        self.runs.going.discard(self)

    def terminate(self):
        self.write("")
        self.stop(143)

    def wait(self, timeout=None):
        return self.code


def recipe_of(words):
    """The recipe that `qflock run …` would run."""
    sets = [value for key, value in pairwise(words) if key == "--set"]
    seed = words[words.index("--seed") + 1]
    return load(words[1], [*sets, f"seed={seed}"])


@pytest.fixture
def sweep(tmp_path):
    return planned("smoke", grid(["regulate.law=none,adaptive"]), range(3), tmp_path / "runs")


@pytest.fixture
def quiet():
    with open("/dev/null", "w") as file:  # noqa: PTH123
        yield Console(file=file)


@given(values=st.lists(st.integers() | st.text("abcxyz.-", min_size=1), min_size=1, max_size=5))
def test_values_are_split_at_their_commas(values):
    assert split(",".join(map(str, values))) == [str(value) for value in values]


def test_a_comma_inside_brackets_or_quotes_belongs_to_its_value():
    assert split("{a: 1, b: [2, 3]},4") == ["{a: 1, b: [2, 3]}", "4"]
    assert split("'x, y', \"z, {\",w") == ["'x, y'", '"z, {"', "w"]
    assert split("1) , 2") == ["1)", "2"]


def test_every_combination_at_every_seed_seed_by_seed(tmp_path):
    sweep = planned("smoke", grid(["student.reps=1,2", "data={rows: 50, alpha: 1},{rows: 60}"]), range(4, 7), tmp_path)
    expected = [
        load("smoke", [f"student.reps={reps}", f"data={data}", f"seed={seed}"])
        for seed, reps, data in product((4, 5, 6), (1, 2), ("{rows: 50, alpha: 1}", "{rows: 60}"))
    ]
    assert [run.recipe for run in sweep.runs] == expected
    assert [recipe_of(("run", *run.words)) for run in sweep.runs] == expected
    assert len(planned("smoke", grid(["student.reps=3,3"]), range(2), tmp_path).runs) == 2


def test_a_sweep_keeps_its_folder_when_it_gets_more_seeds_and_no_other(tmp_path, sweep):
    def folder(*sets, seeds=3):
        return planned("smoke", grid(sets), range(seeds), sweep.folder.parent).folder

    assert folder("regulate.law=none,adaptive", seeds=9) == folder("regulate.law=adaptive,none") == sweep.folder
    assert folder("regulate.law=none,dynamic") != sweep.folder
    assert sweep.folder.name.startswith("smoke-sweep-")


def test_the_fake_runs_are_done_side_by_side_and_compared(sweep, run_of, quiet):
    runs = FakeRuns(sweep, run_of)
    state = work(sweep, 2, quiet, runs)
    assert runs.most == 2
    assert runs.commands == [("run", seed, law) for seed in range(3) for law in ("none", "adaptive")]
    assert len(state.done) == 6
    assert runs_in([sweep.folder]) == state.done
    assert [load(str(folder / "recipe.yaml")) for folder in state.done] == [run.recipe for run in sweep.runs]


def test_what_is_done_is_skipped_what_has_begun_is_resumed(sweep, run_of, quiet):
    done, begun, failed, *_ = sweep.runs
    run_of(sweep.folder / "a", done.recipe)
    run_of(sweep.folder / "b", begun.recipe, rounds=2, end="")
    run_of(sweep.folder / "c", failed.recipe, rounds=1, end="failed")
    run_of(sweep.folder / "other", load("smoke", ["rounds=9"]))
    half = sweep.folder / "half"
    half.mkdir()
    (half / "recipe.yaml").write_text("rounds: [1")
    found = standings(sweep)
    assert [found[run].state for run in sweep.runs] == ["completed", "unfinished", "failed", *["new"] * 3]
    assert (found[begun].round, found[failed].reason) == (2, "as the test says")
    runs = FakeRuns(sweep, run_of)
    work(sweep, 1, quiet, runs)
    assert [words for words, *_ in runs.commands] == ["resume", "resume", "run", "run", "run"]
    again = FakeRuns(sweep, run_of)
    assert len(work(sweep, 1, quiet, again).done) == 6
    assert again.commands == []


def test_a_completed_run_counts_although_another_folder_of_its_recipe_failed(sweep, run_of):
    run_of(sweep.folder / "a", sweep.runs[0].recipe)
    run_of(sweep.folder / "b", sweep.runs[0].recipe, end="failed")
    assert standings(sweep)[sweep.runs[0]].folder == sweep.folder / "a"


def test_a_run_whose_recipe_was_edited_is_not_that_run(sweep, run_of):
    folder = run_of(sweep.folder / "a", sweep.runs[0].recipe)
    assert standings(sweep)[sweep.runs[0]].state == "completed"
    text = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(text.replace("rounds: 3", "rounds: 30"))
    assert standings(sweep)[sweep.runs[0]].state == "new"


def test_a_failed_run_says_why_the_others_go_on_and_the_next_call_tries_it_again(sweep, run_of, monkeypatch, capsys):
    def ends(recipe, words):
        return "failed" if recipe.seed == 1 and words[0] == "run" else "completed"

    monkeypatch.setattr("server.jobs.started", lambda words, log, lock: FakeRuns(sweep, run_of, ends)(words, log))
    monkeypatch.setattr("server.jobs.LOOK_SECONDS", 0)
    with pytest.raises(RunFailedError) as wrong:
        finish(sweep, 2)
    assert str(wrong.value) == (
        "2 of 6 runs failed, the first (regulate.law=none seed=1) with: client 3 is out of memory. "
        "The same command tries them again"
    )
    assert "failed: regulate.law=none seed=1: client 3 is out of memory" in capsys.readouterr().out
    assert len(finish(sweep, 2)) == 6
    assert all((sweep.folder / f"compare.{kind}").stat().st_size for kind in ("csv", "md", "png"))


def test_a_corpus_that_is_nowhere_is_found_out_once_before_any_run_starts(tmp_path, monkeypatch):
    asked = []

    def unreachable(url, timeout):
        asked.append(url)
        raise URLError("no route to host")

    monkeypatch.setattr("data.images.urllib.request.urlopen", unreachable)
    monkeypatch.setattr("server.jobs.started", lambda *what: pytest.fail("a run was started without its corpus"))
    for name in ("QFLOCK_DATA", "QFLOCK_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    sweep = planned("qfed-batched", grid(["optimiser.epochs=1,2"]), range(2), tmp_path)
    with pytest.raises(InputError, match=r"corpus cifar10: .* is neither in .*no route to host"):
        finish(sweep, 2)
    assert len(asked) == 1


def test_an_interrupted_sweep_ends_its_runs_and_goes_on_with_them(sweep, run_of, quiet):
    class Interrupted(FakeRuns):
        def __call__(self, words, log):
            if len(self.commands) == 3:
                raise KeyboardInterrupt
            return super().__call__(words, log)

    runs = Interrupted(sweep, run_of)
    with pytest.raises(KeyboardInterrupt):
        work(sweep, 2, quiet, runs)
    assert not runs.going
    before = [at.state for at in standings(sweep).values()]
    assert before == ["completed", "completed", "unfinished", "new", "new", "new"]
    again = FakeRuns(sweep, run_of)
    assert len(work(sweep, 2, quiet, again).done) == 6
    assert [words for words, *_ in again.commands] == ["resume", "run", "run", "run"]


def test_two_sweeps_in_one_folder_are_one_too_many(sweep, run_of, quiet):
    sweep.folder.mkdir(parents=True)
    with (sweep.folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="is at work: another sweep, or runs that one left, still go on"):
            work(sweep, 1, quiet, FakeRuns(sweep, run_of))
    assert len(work(sweep, 1, quiet, FakeRuns(sweep, run_of)).done) == 6


def test_a_run_that_outlives_its_sweep_keeps_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr("server.jobs.QFLOCK", "import time; time.sleep(60)")
    with only_one(tmp_path) as lock:
        process = started((), tmp_path / "log", lock)
    try:
        with pytest.raises(InputError, match="is at work"), only_one(tmp_path):
            pass
    finally:
        process.kill()
        process.wait()
    with only_one(tmp_path):
        pass


def test_a_sweep_that_has_begun_cannot_be_compared(sweep, run_of, quiet):
    work(sweep, 1, quiet, FakeRuns(sweep, run_of))
    longer = planned("smoke", [[law] for law in LAWS], range(4), sweep.folder.parent)
    with pytest.raises(KeyboardInterrupt):
        work(longer, 1, quiet, lambda words, log: signal.raise_signal(signal.SIGINT))
    with pytest.raises(InputError, match="seed=3 has not been run"):
        runs_in([sweep.folder])


def test_a_run_of_a_sweep_that_cannot_be_read_is_named_with_the_reason(sweep, run_of, quiet):
    work(sweep, 1, quiet, FakeRuns(sweep, run_of))
    folder = sweep.folder / f"run-{sweep.runs[0].recipe.digest()}"
    (folder / "rounds.jsonl").write_text("{\n")
    with pytest.raises(InputError, match=f"seed=0 is of no use: {folder / 'rounds.jsonl'} is damaged"):
        runs_in([sweep.folder])
    (folder / "recipe.yaml").write_text("name: old\nwhat_was_that: 3\n")
    unread = f"unless it is {folder}, which cannot be read: recipe.yaml: what_was_that is not a key"
    with pytest.raises(InputError, match=f"seed=0 has not been run, {unread}"):
        runs_in([sweep.folder])


def test_a_run_that_may_not_be_looked_at_is_as_one_that_is_not_there(tmp_path, monkeypatch):
    def refused(path, **_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refused)
    assert stamp(tmp_path) == (0, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 10**5, "is damaged "),
        ("", r"is damaged \(Expecting value: line 1 column 1 \(char 0\)\)"),
        ("[]", "is damaged "),
        ('{"schema": 1}', r"is damaged \('runs'\)"),
        ('{"schema": 2, "runs": []}', "has schema 2, this qflock reads 1"),
        ('{"schema": 1, "runs": []}', "asks for no run"),
        ('{"schema": 1, "runs": 7}', "is damaged "),
        ('{"schema": 1, "runs": ["a"]}', "is damaged "),
        ('{"schema": 1, "runs": [{"label": "seed=0"}]}', r"is damaged \(a run is without its digest or its label\)"),
        ('{"schema": 1, "runs": [{"digest": "abc"}]}', r"is damaged \(a run is without its digest or its label\)"),
    ],
)
def test_a_sweep_file_that_cannot_be_read_is_one_line(text, why, tmp_path):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(InputError, match=rf"^\S+/sweep.json {why}[^\n]*: give the sweep's command again"):
        runs_in([tmp_path])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["student.reps=1,0"], "--set student.reps=0: student.reps is 0; it must be a whole number from 1 to 20"),
        (["student.reps"], "--set student.reps: write it as key=value,value, for example --set student.reps=1,2,3"),
        (["seed=1,2"], "--set seed=1,2: a sweep counts its seeds itself; say --seeds 5, and --seed for the first"),
        (["student.rep=1"], "--set student.rep=1: student.rep is not a key. Did you mean student.reps?"),
        (["rounds=1,,2"], "--set rounds=: rounds is null; it must be a whole number from 1 to 10000"),
        (["min_reports=2,9"], "--set min_reports=9: min_reports is 9; it must be at most clients, which is 2"),
    ],
)
def test_a_mistake_in_any_combination_is_one_line_before_anything_starts(words, line, tmp_path, monkeypatch, capsys):
    from server.cli import main

    before = signal.getsignal(signal.SIGTERM)
    sets = [word for value in words for word in ("--set", value)]
    monkeypatch.setattr(sys, "argv", ["qflock", "sweep", "smoke", *sets, "--runs-dir", str(tmp_path / "runs")])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (ended.value.code, capsys.readouterr().err) == (2, f"error: {line}\n")
    assert not (tmp_path / "runs").exists()


def test_a_sweep_of_what_is_no_recipe_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(RecipeError, match="Did you mean smoke"):
        planned("smoek", [[]], range(1), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
