"""The page of a run: every part is there, nothing is fetched, and its numbers are the ledger's."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from math import isnan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_fscore_support

from recipes.load import load
from recipes.section import InputError
from server.drawing import Drawing
from server.figures import STATES
from server.folder import as_yaml
from server.ledger import Ledger, lines
from server.page import Section, figure, page
from server.record import mean, record
from server.report import FILES, PARTS, lead, report
from server.run_figures import admitted, of_run
from server.sheets import sheets
from server.signs import SIGNS, signs, unsought
from server.symptoms import noisy
from strategies.classes import by_class, macro

SMOKE = load("smoke", ["rounds=6", "clients=3"])
NEWS = load("qd-llm-topic", ["rounds=6", "clients=3"])


class Page(HTMLParser):
    """What a page holds: sections, pictures with their words, links, and the cells of its tables."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self, text):
        super().__init__()
        self.sections, self.pictures, self.addresses, self.tables, self.ids = [], [], [], [], []
        self.open, self.within = [], []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.addresses += [value for key, value in attrs if key.split(":")[-1] in ("href", "src", "action")]
        self.ids += [said["id"]] if "id" in said else []
        if tag == "section":
            self.sections.append(said["id"])
        if tag in ("svg", "img"):
            self.pictures.append(said.get("aria-label") or said.get("alt"))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data


def ledger_lines(arms=("student", "twin"), rounds=6, clients=3):
    """A healthy run of three clients."""
    counts = {"parts": {"train": 60, "test": 40}, "classes": {"no": 30, "yes": 30}, "domains": {"a<b": 100}}
    everyone = list(range(clients))
    said = [{"kind": "prepare", "stage": "", "clients": everyone, "failed": {}, "seconds": {"round": 1.0}}]
    said[0]["holds"] = dict.fromkeys(everyone, counts)
    for number in range(1, rounds + 1):
        visit = {
            **{"examples": 60, "student_loss": 0.6 / number, "student_accuracy": 0.7, "teacher_loss": 0.5},
            **{"teacher_accuracy": 0.9, "teacher_f1": 0.8},
            **{"maxiter": 20 + number, "requested": 20 + number, "evaluations": 20, "shots": 100, "rho": 1.1},
        }
        part = {
            **{"invited": everyone, "admitted": everyone[:2], "parameters": 16, "cosine": 0.5},
            **{"reference_loss": 0.7 / number, "reference_accuracy": 0.8},
            "clients": {client: dict(visit) for client in everyone},
        }
        line = {"kind": "round", "round": number, "failed": {}, "bytes_up": 10, "bytes_down": 20}
        line |= {"arms": {arm: json.loads(json.dumps(part)) for arm in arms}}
        tuning = {client: {"seconds": 2.0 + client} for client in everyone[:2]} if number == 1 else {}
        said.append(line | {"seconds": {"round": 0.5, "clients": dict.fromkeys(everyone, 0.1), "tuning": tuning}})
    matrix = [[50, 10], [20, 40]]
    scored = {arm: {"accuracy": 0.75, "loss": 0.5, "confusion": matrix} for arm in arms}
    each = {"examples": 40, "accuracy": dict.fromkeys(arms, 0.75), "loss": dict.fromkeys(arms, 0.5), "shots": 0}
    score = {"kind": "score", "round": rounds, "failed": {}, "arms": scored, "logistic": 0.8, "majority": 0.5}
    said.append(score | {"clients": {client: dict(each) for client in everyone}, "seconds": {"round": 0.3}})
    return [*said, {"kind": "end", "state": "completed", "reason": "rounds", "seconds": {"run": 9.0}}]


@pytest.fixture
def written(tmp_path):
    """`written(change, recipe)`: the record of a healthy ledger that `change` has spoiled."""

    def write(change=lambda said: None, recipe=SMOKE, **shape):
        said = ledger_lines(**shape)
        change(said)
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "recipe.yaml").write_text(as_yaml(recipe))
        (folder / "environment.json").write_text('{"qflock": "0.1.0", "packages": {"numpy": "2"}}')
        for line in said:
            Ledger(folder).append(line)
        return record(folder)

    return write


def test_every_part_is_there_and_nothing_is_fetched(written):
    text = report(written().folder).read_text()
    page = Page(text)
    assert page.sections == ["signs", *PARTS, "recipe"]
    assert all(one.startswith(("#", "data:")) for one in page.addresses)
    assert "http" not in text
    assert "<script" not in text
    assert len(page.pictures) == 12
    assert all(page.pictures)
    assert len(page.ids) == len(set(page.ids))


def test_the_numbers_of_the_page_are_the_ledgers(written):
    known = written()
    tables = Page(report(known.folder).read_text()).tables
    arms, rounds, by_class_ = tables[:3]
    assert arms[1][:4] == ["student", "75.0%", "0.500", "0.748"]
    assert [row[0] for row in arms[1:]] == ["student", "twin", "teachers", "logistic", "majority"]
    assert arms[3][1:5] == ["90.0%", "0.500", "0.800", ""]
    assert arms[3][-1] == "mean of 3 clients, on validation rows"
    assert by_class_[1] == ["student", "no", "0.714", "0.833", "0.769", "60"]
    assert [row[2] for row in rounds[1:]] == [f"{0.7 / n:.3f}" for n in range(1, 7) for _ in range(2)]
    costs = next(sheet for sheet in sheets(known) if sheet.name == "costs")
    ledger = lines(known.folder)
    assert costs.rows[-1][1:5] == [
        sum(line.get("bytes_up", 0) for line in ledger),
        sum(line.get("bytes_down", 0) for line in ledger),
        sum(said["shots"] for arm in known.arms for _, _, said in known.visits(arm)),
        pytest.approx(sum(line["seconds"].get("round", 0) for line in ledger)),
    ]
    assert costs.rows[-1][5:] == [pytest.approx(6 * 3 * 0.1), pytest.approx(2.0 + 3.0)]


def test_figures_and_tables_are_files_too(written):
    home = report(written().folder, apart=True).parent / FILES
    names = {path.name for path in home.iterdir()}
    assert {"accuracy.png", "accuracy.svg", "admitted-student.png", "arms.csv", "arms.md", "costs.csv"} <= names
    assert (home / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (home / "arms.csv").read_text().splitlines()[1].startswith("student,0.75,0.5,")


def test_the_quantum_row_never_stands_without_its_twins(written):
    known = written(arms=("student",))
    tables = Page(report(known.folder).read_text()).tables
    assert tables[0][2][0] == "twin"
    assert tables[0][2][-1] == "not trained: student.twin is false"
    assert [sign.name for sign in signs(known)] == ["No twin"]


@pytest.mark.parametrize(
    ("name", "changes", "lacks"),
    [
        ("noop", [], False),
        ("qfed-fashion", ["student.twin=false", "student.generator.by=hash"], False),
        ("qfed-fashion", ["student.twin=false"], True),
    ],
)
def test_a_student_that_is_a_control_or_learns_nothing_lacks_no_twin(name, changes, lacks, written):
    found = signs(written(arms=("student",), recipe=load(name, changes)))
    assert ("No twin" in [sign.name for sign in found]) == lacks


def test_what_a_client_says_is_text_and_not_markup(written):
    def change(said):
        said[1]["failed"] = {2: "<script>alert(1)</script>"}

    text = report(written(change).folder).read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "domain a&lt;b" in text


def test_every_failure_and_note_stands_with_its_reason(written):
    def change(said):
        said[0]["failed"] = {1: "late"}
        said[2]["failed"] = {0: "gone <b>", 2: "no rows"}
        each(said, lambda visit, n, c: visit.update(note="no teacher: no GPU" if (n, c) == (3, 2) else ""))

    text = report(written(change).folder).read_text()
    (table,) = [table for table in Page(text).tables if table[0] == ["visit", "client", "what", "reason"]]
    assert table[1:] == [
        ["hello", "1", "failed", "late"],
        ["round 2", "0", "failed", "gone <b>"],
        ["round 2", "2", "failed", "no rows"],
        ["round 3", "2", "note", "no teacher: no GPU"],
    ]
    assert text.index('id="admitted"') < text.index("no teacher: no GPU") < text.index('id="data"')


def test_of_many_failures_the_first_stand_and_the_others_are_counted(written):
    known = written(lambda said: each(said, lambda visit, n, c: visit.update(note="why")), rounds=20)
    sheet = next(sheet for sheet in sheets(known) if sheet.name == "failures")
    assert len(sheet.rows) == 50
    assert sheet.caption == "clients that failed, and notes; 10 more stand in rounds.jsonl"


def test_who_was_admitted_left_out_and_failed_is_one_grid(written):
    def change(said):
        said[2]["failed"] = {0: "gone"}
        for part in said[3]["arms"].values():
            part["invited"] = [0, 1]

    states = admitted(written(change), "student")
    names = {number: state for number, (state, _) in STATES.items()}
    assert [names[state] for state in states[:, 0]] == ["admitted", "admitted", "left out"]
    assert names[states[0, 1]] == "failed"
    assert names[states[2, 2]] == "not asked"


SPOILED = {
    "Not finished": lambda said: said.pop(),
    "Failed clients": lambda said: said[2].update(failed={1: "no rows today"}),
    "maxiter at its cap": lambda said: each(said, lambda visit, *_: visit.update(maxiter=40, requested=55)),
    "Budget below n + 2": lambda said: each(said, lambda visit, *_: visit.update(maxiter=17, requested=17)),
    "Updates cancel": lambda said: stuck(said, lambda n: 0.3 - n / 15),
    "Updates all alike": lambda said: every(said, lambda part, n: part.update(cosine=0.99)),
    "Under 70% of the classical row": lambda said: said[-2]["arms"]["student"].update(accuracy=0.5),
    "Client losses diverge": lambda said: each(said, lambda visit, n, c: visit.update(student_loss=0.4 + 0.1 * n * c)),
    "Loss oscillates": lambda said: every(said, lambda part, n: part.update(reference_loss=0.12 + 0.02 * (n % 2))),
    "Large local-global gap": lambda said: every(said, lambda part, n: part.update(reference_loss=0.9)),
    "Noise above shot error": lambda said: [
        client.update(shot_loss={"student": 0.3}, shot_spread={"student": 0.01})
        for client in said[-2]["clients"].values()
    ],
    "A loss was no number": lambda said: each(said, lambda v, n, c: v.update(student_loss=None) if n + c == 7 else 0),
    "Few rows": lambda said: each(said, lambda visit, *_: visit.update(examples=12)),
    "Few steps": lambda said: each(said, lambda visit, *_: visit.update(evaluations=12)),
}


def every(said, change):
    for line in said[1:-2]:
        change(line["arms"]["student"], line["round"])


def each(said, change):
    every(said, lambda part, n: [change(visit, n, int(client)) for client, visit in part["clients"].items()])


def stuck(said, cosine):
    """Losses that stay where they were."""
    each(said, lambda visit, *_: visit.update(student_loss=0.6))
    every(said, lambda part, n: part.update(reference_loss=0.6, cosine=cosine(n)))


def test_updates_that_never_agreed_or_whose_run_has_converged_are_not_said_to_cancel(written):
    def change(said):
        every(said, lambda part, n: part.update(cosine=0.9 - n / 6))

    known = written(change)
    assert signs(known) == []
    stuck(known.ledger, lambda n: 0.02)
    assert signs(known) == []


def test_a_healthy_run_shows_no_sign(written):
    assert signs(written()) == []


@pytest.mark.parametrize("name", [name for name in SIGNS if name != "No twin"])
def test_each_sign_shows_where_it_should_and_alone(name, written):
    found = signs(written(SPOILED[name], recipe=NEWS if name == "Few steps" else SMOKE))
    assert [sign.name for sign in found] == [name]
    assert found[0].found.endswith(".")
    assert found[0].remedy in [remedy for _, remedy in SIGNS.values()]


def test_steps_are_few_when_adam_cannot_have_come_far(written):
    def change(said):
        each(
            said,
            lambda visit, n, c: visit.update(examples=100 + c, evaluations=3) if n > 1 else visit.pop("evaluations"),
        )

    known = written(change, recipe=NEWS)  # batches of 64 at 0.003
    (sign,) = signs(known)
    assert sign.found == "No client took more than 10 steps, in which Adam moves a number by hardly more than 0.03."
    each(known.ledger, lambda visit, *_: visit.update(evaluations=30))
    assert signs(known) == []  # 120 steps


def test_a_loss_that_was_no_number_silences_no_other_sign(written):
    def change(said):
        each(said, lambda visit, n, c: visit.update(student_loss=[0.4 + 0.1 * n, 0.4, None][c]))
        every(said, lambda part, n: part.update(reference_loss=None if n == 1 else 2.5))

    found = {sign.name: sign.found for sign in signs(written(change))}
    assert list(found) == ["Client losses diverge", "A loss was no number", "Large local-global gap"]
    assert found["A loss was no number"] == "6 losses of clients 2 and 1 of the server's losses were no number."


def test_a_budget_that_is_missing_hides_no_other(written):
    def change(said):
        each(said, lambda visit, n, c: visit.update(maxiter=17, requested=17) if c else visit.pop("maxiter"))

    assert [sign.name for sign in signs(written(change))] == ["Budget below n + 2"]


@pytest.mark.parametrize("arm", ["student", "twin"])
def test_an_accuracy_that_was_no_number_is_unknown_and_blank_in_a_file(arm, written):
    known = written(lambda said: said[-2]["arms"][arm].update(accuracy=None))
    text = report(known.folder, apart=True).read_text()
    assert "an unknown share" in text
    assert "nan%" not in text
    assert "nan" not in (known.folder / FILES / "arms.csv").read_text()


def test_a_band_is_that_of_the_losses_that_are_numbers(written, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "server.run_figures.curves", lambda name, _, says, curves, **looks: drawn.update({name: curves})
    )
    losses = [None, 0.4, 0.6]
    list(of_run(written(lambda said: each(said, lambda visit, n, c: visit.update(student_loss=losses[c])))))
    assert (drawn["loss"][0].low, drawn["loss"][0].high) == ([0.4] * 6, [0.6] * 6)


def test_a_noise_loss_within_shot_error_is_no_sign(written):
    def change(said):
        for client in said[-2]["clients"].values():
            client |= {"shot_loss": {"student": client["loss"]["student"] - 0.01}, "shot_spread": {"student": 0.01}}

    assert signs(written(change)) == []


@pytest.mark.parametrize("shots", [100, 1024])
@pytest.mark.parametrize("likely", [[0.8] * 400, [0.95] * 360 + [0.02] * 40])
def test_shots_alone_are_hardly_ever_taken_for_noise(shots, likely, written):
    """The loss of Jeffreys' estimate, on repeated draws."""
    draws, seen = np.random.default_rng(0), 0

    def loss():
        p = (draws.binomial(shots, likely) + 0.5) / (shots + 1)
        return float(-np.log(p).mean())

    for _ in range(40):
        ideal = [loss() for _ in range(20)]
        said = {"loss": loss(), "shot_loss": np.mean(ideal), "shot_spread": np.std(ideal, ddof=1)}
        record = SimpleNamespace(
            recipe=SimpleNamespace(shots=shots),
            score={"clients": {"0": {"examples": 400, **{key: {"student": value} for key, value in said.items()}}}},
        )
        seen += noisy(record) is not None
    assert seen <= 1


SHAPES = st.integers(2, 5).flatmap(lambda k: arrays(int, (k, k), elements=st.integers(0, 20)))


@given(matrix=SHAPES.filter(lambda matrix: matrix.sum() > 0))
def test_a_confusion_matrix_gives_scikit_learns_numbers(matrix):
    classes = range(len(matrix))
    truth, said = (np.repeat(side.ravel(), matrix.ravel()) for side in np.indices(matrix.shape))
    oracle = precision_recall_fscore_support(truth, said, labels=classes, zero_division=0)
    ours = np.array([[one.precision, one.recall, one.f1, one.rows] for one in by_class(matrix.tolist())]).T
    np.testing.assert_allclose(ours, oracle, atol=1e-12)
    assert tuple(macro(matrix.tolist()).values()) == pytest.approx(
        precision_recall_fscore_support(truth, said, labels=classes, average="macro", zero_division=0)[:3]
    )


def test_a_torn_last_line_is_left_out_and_said(written):
    folder = written().folder
    with (folder / "rounds.jsonl").open("a") as file:
        file.write('{"kind": "rou')
    known = record(folder)
    assert len(known.rounds) == 6
    assert "torn" in known.notes[0]
    assert "torn" in report(folder).read_text()


def test_a_damaged_line_ends_what_is_read_and_is_said(written):
    folder = written().folder
    texts = (folder / "rounds.jsonl").read_text().splitlines()
    for damage in ("{", "[]", '{"kind": "round"}', '{"kind": "round", "round": 3, "arms": {"student": 7}}', "\x00\x01"):
        (folder / "rounds.jsonl").write_text("\n".join([*texts[:3], damage, *texts[4:]]) + "\n")
        known = record(folder)
        assert len(known.rounds) == 2
        assert known.notes[0].startswith("Line 4 of rounds.jsonl is damaged; it and the 5 after it are left out.")
    assert "Line 4 of rounds.jsonl is damaged" in report(folder).read_text()


@pytest.mark.parametrize("bytes_", [b"", b"\xef\xbb\xbf"])
def test_a_ledger_that_an_editor_has_saved_or_that_has_nan_for_null_is_read_whole(bytes_, written):
    folder = written(lambda said: every(said, lambda part, n: part.update(cosine=None))).folder
    ledger = folder / "rounds.jsonl"
    before = record(folder).ledger
    texts = ledger.read_text().replace('"cosine": null', '"cosine": NaN').splitlines()
    ledger.write_bytes(bytes_ + "\r\n\n".join(["", *texts, " "]).encode())
    known = record(folder)
    assert (known.ledger, known.notes) == (before, [])


def places(value, path=()):
    """Where every value in a line is."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield (*path, key)
        yield from places(one, (*path, key))


WRONG = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
WRONG |= st.lists(WRONG, max_size=2) | st.dictionaries(st.text(max_size=2), WRONG, max_size=2)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_ledger_with_any_value_another_or_gone_has_a_page(data, tmp_path):
    said = json.loads(json.dumps(ledger_lines(rounds=2)))
    *inside, last = data.draw(st.sampled_from(list(places(said))))
    part = said
    for key in inside:
        part = part[key]
    if data.draw(st.booleans()):
        del part[last]
    else:
        part[last] = data.draw(WRONG)
    (tmp_path / "recipe.yaml").write_text(as_yaml(SMOKE))
    (tmp_path / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    known = record(tmp_path)
    assert page("", lead(known), [Section("all", "", "".join(sheet.html() for sheet in sheets(known)))])
    signs(known)
    for drawing in of_run(known):
        drawing.draw(Figure().subplots())


@pytest.mark.parametrize("name", ["..", "", "a/b", "../../x", 'x" onload="alert(1)', "a\n", "é", "a" * 41])
@pytest.mark.parametrize("line", [2, -2])
def test_an_arm_whose_name_could_be_no_files_is_damage(name, line, written):
    def change(said):
        said[line]["arms"][name] = said[line]["arms"].pop("twin")

    known = written(change)
    assert any("is damaged" in note for note in known.notes)
    assert name not in known.arms


HALF = json.loads('"\\ud800"')
ODD = {
    "half a letter in a reason": lambda said: said[2].update(failed={1: HALF}),
    "half a letter in a class": lambda said: said[0].update(holds={0: {"classes": {HALF: 3}}}),
    "a text without end": lambda said: said[-1].update(reason="x" * 10**6),
    "a client without end": lambda said: said[1]["arms"]["student"]["clients"].update({"9" * 5000: {}}),
    "a client in another script": lambda said: said[1]["arms"]["student"]["clients"].update({"٣": {}}),
    "lists without end": lambda said: said[1].update(deep=json.loads("[" * 900 + "]" * 900)),
}


@pytest.mark.parametrize("what", ODD)
def test_what_no_page_can_show_is_damage(what, tmp_path):
    said = ledger_lines(rounds=2)
    ODD[what](said)
    texts = [json.dumps(line).replace("[" * 900, "[" * 10**5).replace("]" * 900, "]" * 10**5) for line in said]
    (tmp_path / "rounds.jsonl").write_text("\n".join([*texts, ""]))
    assert "rounds.jsonl is damaged" in report(tmp_path).read_text()


def test_an_environment_that_no_page_can_show_is_said_or_written_otherwise(written):
    folder = written().folder
    (folder / "environment.json").write_text('{"cpu": "\\ud800"}')
    assert '<td class="t">?</td>' in report(folder).read_text()
    (folder / "environment.json").write_text("[" * 10**5)
    assert any("environment.json cannot be read" in note for note in record(folder).notes)


def test_a_ledger_that_may_not_be_read_is_said(written, monkeypatch):
    folder = written().folder
    refuse(monkeypatch, "read_bytes", "rounds.jsonl")
    assert record(folder).notes == ["rounds.jsonl cannot be read (Permission denied)."]
    assert "rounds.jsonl cannot be read (Permission denied)." in report(folder).read_text()
    refuse(monkeypatch, "is_file", "recipe.yaml")
    with pytest.raises(InputError, match="run cannot be read \\(Permission denied\\): give"):
        record(folder)


def refuse(monkeypatch, method, name):
    """Have a method of paths fail for a name, as it does for whoever is not root."""
    method_of = getattr(Path, method)

    def refused(path, *args, **keys):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return method_of(path, *args, **keys)

    monkeypatch.setattr(Path, method, refused)


def test_a_score_of_an_arm_that_was_never_trained_has_signs(written):
    def change(said):
        del said[1:-2]
        said[-2]["arms"] = {"third": {"accuracy": 0.5}}

    assert [sign.name for sign in signs(written(change))] == []


def test_a_line_of_a_kind_of_its_own_has_arms_of_the_same_shape(written):
    assert "Line 1 of rounds.jsonl is damaged" in written(lambda said: said[0].update(arms=7)).notes[0]


def test_a_figures_name_is_text_in_its_ids():
    drawn = figure(Drawing('a\\1"><script>', "title", "says", lambda axes: None))
    assert "<script>" not in drawn
    assert 'id="figure-a\\1&quot;&gt;&lt;script&gt;"' in drawn


def test_an_older_schema_is_reported_as_far_as_it_goes(written):
    def older(said):
        for line in said:
            line["schema"] = 0
            line.pop("holds", None)
            for part in line.get("arms", {}).values():
                for key in ("cosine", "parameters", "confusion", "invited"):
                    part.pop(key, None)
                for visit in part.get("clients", {}).values():
                    visit.pop("requested", None)
                    visit.pop("rho", None)

    known = written(older)
    assert any("schema 0" in note for note in known.notes)
    page = Page(report(known.folder).read_text())
    assert "data" not in page.sections
    assert page.tables[0][1][:3] == ["student", "75.0%", "0.500"]


def test_a_recipe_of_another_version_is_shown_as_it_stands(written):
    folder = written().folder
    (folder / "recipe.yaml").write_text("name: old\nwhat_was_that: 3\n")
    known = record(folder)
    assert known.recipe is None
    assert any("what_was_that" in note for note in known.notes)
    assert "what_was_that: 3" in report(folder).read_text()


def test_signs_that_only_a_recipe_could_show_are_said_to_be_unsought(written):
    folder = written(lambda said: each(said, lambda visit, *_: visit.update(maxiter=17))).folder
    assert "Not looked for" not in report(folder).read_text()
    (folder / "recipe.yaml").write_text("what_was_that: 3\n")
    text = report(folder).read_text()
    assert "None of the other signs that we look for." in text
    missed = "maxiter at its cap, Budget below n + 2, Few steps, Noise above shot error"
    assert f"Not looked for, because the recipe cannot be read: {missed}." in text


def test_a_run_that_has_just_begun_and_one_without_a_ledger_have_a_page(tmp_path):
    (tmp_path / "recipe.yaml").write_text(as_yaml(SMOKE))
    page = Page(report(tmp_path).read_text())
    assert page.sections == ["signs", "recipe"]
    Ledger(tmp_path).append(ledger_lines()[0])
    assert "data" in Page(report(tmp_path).read_text()).sections


def test_what_is_no_run_folder_is_one_line(tmp_path):
    with pytest.raises(InputError) as wrong:
        record(tmp_path)
    assert str(wrong.value) == f"{tmp_path} is not a run folder: it has neither recipe.yaml nor rounds.jsonl"


def test_a_number_that_is_missing_is_blank_and_not_zero(written):
    def change(said):
        every(said, lambda part, n: part.update(reference_loss=None))

    known = written(change)
    assert "student from no number to no number" in report(known.folder).read_text()
    rounds = next(sheet for sheet in sheets(known) if sheet.name == "rounds")
    assert isnan(rounds.rows[0][2])
    assert Page(report(known.folder).read_text()).tables[1][1][2] == ""


def test_a_client_without_a_teacher_is_left_out_of_the_mean_of_teachers():
    assert mean([{"teacher_loss": None}, {"teacher_loss": 0.4}, {"teacher_loss": 0.6}], "teacher_loss") == 0.5
    assert np.isnan(mean([{"teacher_loss": None}], "teacher_loss"))


def test_names_that_matplotlib_would_typeset_are_drawn_as_they_are(written):
    def change(said):
        for held in said[0]["holds"].values():
            held["classes"] = {"$no_way{": 30, "yes$": 30}

    assert "$no_way{" in report(written(change).folder).read_text()


def test_a_score_without_its_clients_still_has_a_page(tmp_path, run_of):
    text = report(run_of(tmp_path / "run", SMOKE)).read_text()
    assert "The student is right in 80.0% of the test rows, its classical twin in 70.0% (+10.0 points)." in text


def test_noise_that_scores_do_not_hold_is_said_to_be_unsought(written):
    known = written()
    assert unsought(replace(known, recipe=load("smoke"))) == ""
    noisy_one = load("smoke", ["executor=noisy:manila"])
    said = "Not looked for, because scored_by is exact: Noise above shot error."
    assert unsought(replace(known, recipe=noisy_one)) == said
    assert unsought(replace(known, recipe=load("smoke", ["executor=noisy:manila", "scored_by=executor"]))) == ""
