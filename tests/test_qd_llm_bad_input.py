"""What QD-LLM is given wrong: one line that says so, and nothing half-written."""

import json
import os

import numpy as np
import pytest

from quantum.guidance import Guidance
from recipes.load import load as load_recipe
from recipes.schema import TeacherConfig
from recipes.section import InputError
from server.folder import as_yaml
from server.ledger import lines
from server.trained import trained
from teacher.protocol import TeacherError, teacher

SMALL = {
    "rounds": 2,
    "clients": 2,
    "data": {"rows": 60, "reference_rows": 100},
    "features": {"buckets": 64},
    "student": {"kind": "layered", "readout": "dense", "entanglement": "circular", "qubits": 3, "reps": 2},
    "optimiser": {"kind": "minibatch", "learning_rate": 0.05, "batch": 16},
    "distil": {"labels": 0.5, "weight": 2, "shannon": 0.5},
}


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (b"0\tgood\n1\tcaf\xe9\n", ":2: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("0\tgood\n1\tbad\n".encode("utf-16"), ":1: the byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"0\tgood\n1\t \n", ":2: the text is empty; give this row a text or remove it"),
    ],
)
def test_texts_in_another_encoding_or_empty_ones_begin_no_run(rows, line, told, tmp_path):
    file = tmp_path / "mine.tsv"
    file.write_bytes(rows)
    words = ("--set", "data.corpus=text", "--set", f"data.path={file}", "--runs-dir", tmp_path / "runs")
    code, said = told("distill", "qd-llm-reviews", *words)
    assert code == 2
    assert line in said.replace("\n", "")
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def a_run(run_here, tmp_path):
    """A finished run on a file of two classes."""
    (tmp_path / "mine.tsv").write_text("".join(f"{i % 2}\tword{i % 2} text {i}\n" for i in range(80)))
    data = {"corpus": "text", "path": str(tmp_path / "mine.tsv"), "reference_rows": 20}
    config = {"recipe": json.dumps(SMALL | {"data": data, "rounds": 1})}
    folder = run_here("trained", config, 2)
    (folder / "recipe.yaml").write_text(as_yaml(load_recipe(config["recipe"])))
    return folder


def test_a_text_to_classify_in_another_encoding_is_one_line(a_run, told):
    code, said = told("predict", a_run, "good", os.fsdecode(b"caf\xe9"))
    assert code == 2
    assert "error: text 2 is not UTF-8; give it in UTF-8" in said


def test_a_run_whose_labels_were_renamed_since_classifies_nothing(a_run, told, tmp_path):
    file, before = tmp_path / "mine.tsv", (tmp_path / "mine.tsv").read_text()
    file.write_text("".join(line.replace("0", "9", 1) if line[0] == "0" else line for line in before.splitlines(True)))
    code, said = told("predict", a_run, "word0 text")
    assert code == 2
    assert "other rows or labels: give back the data that it was trained on" in said.replace("\n", "")
    file.write_text(before)
    assert told("predict", a_run, "word0 text")[0] == 0


def test_a_run_of_old_whose_file_has_other_classes_now_classifies_nothing(a_run, told, tmp_path):
    ledger = [{key: part for key, part in line.items() if key != "corpus"} for line in lines(a_run)]
    (a_run / "rounds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ledger))
    trained(a_run)
    with (tmp_path / "mine.tsv").open("a") as file:
        file.write("2\tone more\n2\tand more\n2\tand again\n")
    code, said = told("export", a_run, "a text", "--qasm", tmp_path / "out")
    assert code == 2
    assert "3 classes of text" in said.replace("\n", " ")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="give back the data that it was trained on"):
        trained(a_run)


def test_clients_that_hold_one_class_each_go_on_and_are_scored(run_here):
    config = {"recipe": json.dumps(SMALL | {"data": SMALL["data"] | {"partition": "shards", "shards": 1}})}
    ledger = lines(run_here("shards", config, 2))
    assert ledger[-1]["state"] == "completed"
    (score,) = (line for line in ledger if line["kind"] == "score")
    matrix = np.array(score["arms"]["student"]["confusion"])
    assert matrix.sum(1).min() > 0  # both classes were asked for, of one client each
    for client in score["clients"].values():
        assert (np.array(client["confusion"]["student"]).sum(1) > 0).sum() == 1


def test_an_llm_that_was_shown_one_class_teaches_nothing_and_the_ledger_says_why(run_here, tiny_llm):
    llm = {"kind": "lora", "model": str(tiny_llm()), "layers": 2, "epochs": 1}
    data = SMALL["data"] | {"partition": "shards", "shards": 1}
    ledger = lines(run_here("shards", {"recipe": json.dumps(SMALL | {"data": data, "teacher": llm})}, 2))
    assert ledger[-1]["state"] == "completed"
    (line, *_) = (line for line in ledger if line["kind"] == "round")
    for client in line["arms"]["student"]["clients"].values():
        assert client["teacher_loss"] is None
        assert "training rows are of class" in client["note"]


@pytest.mark.parametrize("kind", ["tiny", "lora"])
def test_a_teacher_of_other_classes_than_the_recipe_is_refused(kind, tiny_llm):
    llm = {"model": str(tiny_llm()), "layers": 2, "max_tokens": 32} if kind == "lora" else {}
    config = TeacherConfig(kind=kind, **llm)
    three = teacher(config, 3).adapter()
    with pytest.raises(TeacherError, match="classes"):
        teacher(config, 2).load_adapter(three)


def test_soft_labels_of_other_classes_than_the_students_are_no_lesson():
    guidance, p = Guidance(np.full((2, 3), 1 / 3), weight=1.0), np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match="soft labels of 3 classes teach no student of 2"):
        guidance.of(p, np.zeros(2, int))
