"""The table of QD-LLM: its measures against scikit-learn's, its rivals on an easy task, its published rows."""

import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import classification_report

from bench import printed, qdllm, systems
from bench.inside import Inside
from bench.machine import nothing_kept
from bench.memory import Growth
from bench.rivals import RIVALS, Task
from bench.small_berts import OBJECTIVES, Seen, SmallBert, Told, answers
from bench.tables import RESULTS
from client.participant import Participant
from data.assets import cache_folder
from quantum.arms import student
from recipes.load import load
from recipes.schema import StudentConfig
from server.central import central

SMALL = (
    *("data.corpus=synthetic", "data.rows=0", "data.reference_rows=100", "features={encoder: tfidf, buckets: 64}"),
    *("student.qubits=3", "student.reps=2", "rounds=2"),
)


@pytest.fixture
def memory(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path))


def test_every_method_stands_in_the_table_with_the_papers_measures(memory, monkeypatch, tmp_path, tiny_llm):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))
    teacher = f"teacher={{kind: lora, model: {tiny_llm()}, layers: 2, epochs: 1}}"
    path = tmp_path / "qdllm.json"
    results = qdllm.measure(["reviews"], 1, [*SMALL, teacher], path, lambda line: None)
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(results))
    again = lambda recipe: pytest.fail(f"seed {recipe.seed} was measured again")  # noqa: E731
    monkeypatch.setattr(qdllm, "rows", again)
    assert qdllm.measure(["reviews"], 1, [*SMALL, teacher], path)["corpora"] == json.loads(
        json.dumps(results["corpora"])
    )
    found = results["corpora"]["reviews"]["rows"]
    assert {*qdllm.ARMS.values(), *RIVALS} <= set(found)
    assert len([name for name in found if name.startswith("teacher")]) == 1
    drawn = qdllm.table(results, "reviews")
    assert drawn.row_count == len(found)  # and nothing published of reviews
    assert "student less twin" in qdllm.note(results)
    assert "HiTIN" in qdllm.note(results)
    assert "a frozen encoder, or of the LLM below an adapter, are not counted" in qdllm.note(results)
    (head,) = (column for column in drawn.columns if column.header == "from the text, ms")
    assert all(head.cells)
    for row in results["corpora"]["reviews"]["rows"].values():
        del row[0]["from_text"]  # as rows of old
    assert not any([*qdllm.table(results, "reviews").columns][-1].cells)
    results = json.loads(path.read_text(encoding="utf-8"))
    found = results["corpora"]["reviews"]["rows"]
    for name, (row,) in found.items():
        assert 0 < row["accuracy"] <= 1
        assert row["milliseconds"] > 0
        reads = name in qdllm.ARMS.values() or "embedding" in name or "MLP" in name or "untrained circuit" in name
        assert (row["from_text"] > row["milliseconds"]) == reads
        assert name.startswith("teacher") or row["per_second"] == row["accuracy"] / row["seconds"]
    one = found[qdllm.ARMS["student"]][0]
    assert one["effective"] < one["parameters"]
    terms = one["terms"]
    assert set(terms) == {"ce", "kl", "js"}


@pytest.fixture
def counted(monkeypatch):
    """`rows` that only say which seeds were asked for, and a head that a test may change."""
    head = {"commit": "0.1.0 abc", "packages": {"torch": "2"}, "machine": {"load": 0.1}}
    asked = []

    def rows(recipe):
        asked.append((recipe.data.corpus, recipe.seed))
        return {name: {"accuracy": 0.5} for name in qdllm.ARMS.values()}

    monkeypatch.setattr(qdllm, "facts", lambda packages: dict(head))
    monkeypatch.setattr(qdllm, "rows", rows)
    return head, asked


def measured(path, corpora, seeds, *changes):
    return qdllm.measure(corpora, seeds, changes, path, lambda line: None)["corpora"]


def test_another_commit_keeps_what_is_measured_and_both_are_named(counted, tmp_path):
    (head, asked), path = counted, tmp_path / "qdllm.json"
    measured(path, ["topic", "senti"], 1)
    head["commit"] = "0.1.0 def"
    found = measured(path, ["topic"], 2)
    assert asked == [("topic", 0), ("senti", 0), ("topic", 1)]
    assert [found[corpus]["commit"] for corpus in ("topic", "senti")] == ["0.1.0 abc, 0.1.0 def", "0.1.0 abc"]
    said = qdllm.note(json.loads(path.read_text(encoding="utf-8")))
    assert "qflock 0.1.0 abc, 0.1.0 def, load 0.1. senti" in said
    head["commit"] = "0.1.0 ghi"
    assert measured(path, ["topic"], 2) == found  # nothing was run at that one


@pytest.mark.parametrize(("packages", "changes"), [({"torch": "3"}, ()), ({"torch": "2"}, ("rounds=1",))])
def test_another_recipe_or_package_measures_a_corpus_anew_and_no_other(packages, changes, counted, tmp_path):
    (head, asked), path = counted, tmp_path / "qdllm.json"
    before = measured(path, ["topic", "senti"], 2)
    head["packages"] = packages
    found = measured(path, ["topic"], 1, *changes)
    assert asked[4:] == [("topic", 0)]
    assert {len(seeds) for seeds in found["topic"]["rows"].values()} == {1}
    assert found["senti"] == before["senti"]


class SlowEncoder:
    """Takes 50 ms for its weights and 2 ms a text."""

    name, exchanges, size = "encoder", 0, 1

    def apply(self, arrays, rows):
        end = time.process_time() + 0.05 + 0.002 * len(rows)
        while time.process_time() < end:
            pass
        return np.zeros((len(rows), 1))


def test_an_encoder_is_timed_by_the_text_without_its_weights():
    who = SimpleNamespace(stages=[SlowEncoder()])
    assert 1.9 < qdllm.encoding(who, {}, [f"text {i}" for i in range(64)]) < 3.5


def test_without_one_folder_of_the_cache_the_others_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path))
    for name in ("features", "weights"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with nothing_kept("features"):
        assert [path.name for path in cache_folder().iterdir()] == ["weights"]
        assert (cache_folder() / "weights" / "file").read_text() == "weights"
    with nothing_kept():
        assert not list(cache_folder().iterdir())
    assert (tmp_path / "weights" / "file").read_text() == "weights"
    assert cache_folder() == tmp_path


def test_the_measures_are_scikit_learns_macro_means():
    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet((1, 1, 1), 50), rng.integers(0, 3, 50)
    found = qdllm.measures(probs, labels, 10)
    report = classification_report(labels, probs.argmax(1), output_dict=True, zero_division=0)
    assert found["accuracy"] == pytest.approx(report["accuracy"])
    for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert found[ours] == pytest.approx(report["macro avg"][theirs])
    assert found["per_parameter"] == found["accuracy"] / 10


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a peak be set back")
def test_the_rise_of_memory_is_that_of_the_work():
    with Growth() as grown:
        held = np.ones(12_500_000)
    with Growth() as nothing:
        pass
    assert held.nbytes / 1e6 <= grown.mb < held.nbytes / 1e6 + 30
    assert nothing.mb < 30


@pytest.fixture(scope="module")
def inside(tiny_llm):
    return Inside(str(tiny_llm()), 2)


def batch(seed=0, n_classes=3, tokens=(4, 2, 5)):
    """Anything that objectives may meet, with padding."""
    draw = torch.Generator().manual_seed(seed)
    of = lambda *shape: torch.randn(*shape, generator=draw)  # noqa: E731
    b, s = len(tokens), max(tokens)
    mask = (torch.arange(s) < torch.tensor(tokens)[:, None]).float()
    soft, looked = of(b, n_classes).softmax(1), of(2, b, s, s).softmax(-1)
    told = Told(torch.arange(b) % n_classes, soft, 2.0, of(2, b, s, 6), looked, mask)
    return Seen(of(b, n_classes), of(2, b, s, 6), of(2, b, s, s)), told


def own(name, seen, told):
    """The objectives as sums over texts, tokens and classes, one by one."""
    z, t, T = seen.logits.double().numpy(), told.soft.double().numpy(), told.temperature
    s, p = softmax(z / T, axis=1), softmax(z, axis=1)
    rows, K = range(len(z)), range(z.shape[1])
    labels = -np.mean([np.log(p[b, told.labels[b]]) for b in rows])
    soft = -np.mean([sum(t[b, k] * np.log(s[b, k]) for k in K) for b in rows])
    real = [(b, i) for b in rows for i in range(int(told.mask[b].sum()))]
    H, G = seen.states.double().numpy(), told.states.double().numpy()
    if name == "MiniLLM":
        return T**2 * np.mean([sum(s[b, k] * np.log(s[b, k] / t[b, k]) for k in K) for b in rows])
    if name == "DistilBERT":
        return labels + T**2 * soft + np.mean([1 - cosine(H[-1][at], G[-1][at]) for at in real])
    if name == "PKD":
        lengths = [int(told.mask[b].sum()) for b in rows]
        pairs = [(H[m][b, :n].mean(0), G[m][b, n - 1]) for m in range(2) for b, n in enumerate(lengths)]
        patient = sum(np.square(h / np.linalg.norm(h) - g / np.linalg.norm(g)).sum() for h, g in pairs) / len(z)
        return 0.5 * labels + 0.5 * soft + 10 * patient
    states = sum(np.mean([np.square(H[m][at] - G[m][at]).mean() for at in real]) for m in range(2))
    apart = []
    for m in range(2):
        scores, looked = seen.scores[m].double().numpy(), told.attention[m].double().numpy()
        for b, i in real:
            apart.append(np.square(softmax(scores[b, i, : i + 1]) - looked[b, i, : i + 1]))
    return np.concatenate(apart).sum() / (sum(map(len, apart)) / 2) + states + soft


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("seed", range(3))
def test_an_objective_is_its_equation(name, seed):
    seen, told = batch(seed)
    assert float(OBJECTIVES[name](seen, told)) == pytest.approx(own(name, seen, told), rel=1e-4)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_stands_on_padding_moves_no_objective(name):
    seen, told = batch(1)
    blank = told.mask == 0
    other = Seen(seen.logits, seen.states.clone(), seen.scores.clone())
    other.states[:, blank] += 5
    other.scores.transpose(2, 3)[:, blank] += 5
    assert float(OBJECTIVES[name](other, told)) == pytest.approx(float(OBJECTIVES[name](seen, told)), rel=1e-5)


def test_an_answer_does_not_depend_on_what_is_padded_beside_it(inside):
    torch.manual_seed(0)
    model = SmallBert(inside.embedding_VD, 2)
    texts = ["good", "good bad fine so", "bad bad"]
    alone = [answers(model, inside, [text])[0] for text in texts]
    assert np.allclose(answers(model, inside, texts), alone, atol=1e-6)


def test_what_the_llm_computes_inside_is_transformers_own(inside, tiny_llm):
    from transformers import AutoModel

    text = "good bad fine so"
    inside.read([text])
    llm = AutoModel.from_pretrained(tiny_llm(), dtype=torch.float32, attn_implementation="eager").eval()
    ids = torch.tensor(inside.tokens([text]))
    with torch.no_grad():
        said = llm(ids, output_hidden_states=True, output_attentions=True)
    states, looked = inside.of([text], ids.shape[1])
    for m, layer in enumerate((1, 2)):  # of four, the upper two being tuned
        wanted = torch.nn.functional.layer_norm(said.hidden_states[layer][0], (states.shape[-1],))
        assert torch.allclose(states[m, 0], wanted, atol=0.05)  # kept in half precision, of bfloat16
        assert torch.allclose(looked[m, 0], said.attentions[layer - 1][0].mean(0), atol=0.02)


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_learns_and_repeats_itself(name, inside):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    texts = [" ".join(rng.choice(["good", "fine", "so"] if y else ["bad", "poor", "so"], 6)) for y in labels]
    x = rng.normal(size=(400, 5)) + np.outer(2 * labels - 1, [1.0, 0, 0, 0, 0])
    config = StudentConfig(kind="layered", readout="dense", entanglement="circular", qubits=4, reps=2)
    one, soft = student(config, 2, columns=5), np.where(np.eye(2)[labels[:300]] > 0, 0.8, 0.2)
    inside.read(texts[:300])
    task = Task(texts[:300], x[:300], labels[:300], soft, 2.0, inside, 2, one, 0)
    fitted, again = (RIVALS[name](task) for _ in range(2))
    probs = fitted.answer(texts[300:], x[300:])
    assert np.array_equal(probs, again.answer(texts[300:], x[300:]))
    assert np.allclose(probs.sum(1), 1)
    assert (probs.argmax(1) == labels[300:]).mean() > 0.6
    if name.startswith("MLP"):
        assert fitted.parameters == pytest.approx(task.student.parameters, rel=0.1)


def lines(results):
    columns = [list(column.cells) for column in printed.table(results).columns]
    return [dict(zip(printed.COLUMNS, cells, strict=True)) for cells in zip(*columns, strict=True)]


def test_every_printed_row_is_drawn_with_what_was_printed():
    rows, drawn = qdllm.published(*printed.PRINTED), lines(RESULTS)
    assert len(rows) == len(drawn) == 109
    for one, line in zip(rows, drawn, strict=True):
        assert (f"Table {line['table']}", line["set"], line["teacher"]) == (one["table"], one["task"], one["teacher"])
        assert line["method"] == one["method"].replace("Ours", "QD-LLM")
        scale = 1 if one["table"] == "Table 3" else 100
        assert float(line["theirs"].strip("%").replace(",", "")) == pytest.approx(scale * float(one["accuracy"]))
        assert [line[head].partition(" · ")[0] for head in printed.HEADS.values()] == [
            one[key] for key in printed.HEADS
        ]


def test_beside_a_printed_row_stands_the_nearest_of_ours_or_nothing(tmp_path):
    assert not any(line["ours"] or line["nearest of ours"] for line in lines(tmp_path))
    student, bert = qdllm.ARMS["student"], "small BERT, as PKD"
    seeds = [{"accuracy": 0.7, "parameters": 4427}, {"accuracy": 0.8, "parameters": 4427, "f1": 0.9, "per_second": 2}]
    topic = {student: seeds, "teacher: a b": [{"parameters": 125188}], bert: [{"accuracy": 0.6, "parameters": 9}]}
    corpora = {"topic": {"rows": topic}, "senti": {"rows": {student: [{"accuracy": 0.65}]}}}
    corpora = {name: {"commit": "0.1.0 abc", **found} for name, found in corpora.items()}
    (tmp_path / "qdllm.json").write_text(json.dumps({"corpora": corpora}))
    terms = [
        {"label": f"{c}: JS", "accuracy": {"student": [value]}, "commit": "0.1.0 def"}
        for c, value in (("topic", 0.5), ("stega", 0.6))
    ]
    (tmp_path / "qdllm-ablation.json").write_text(json.dumps({"rows": terms}))
    found = {}
    for line in lines(tmp_path):
        at = line["table"], line["set"], line["method"]
        assert found.setdefault(at, (line["nearest of ours"], line["ours"])) == (line["nearest of ours"], line["ours"])
    assert {at: ours for at, ours in found.items() if any(ours)} == {
        ("3", "", "QD-LLM student parameters"): (f"{student} (topic)", "4,427"),
        ("3", "", "PKD parameters"): (f"{bert} (topic)", "9"),
        ("3", "", "LoRA parameters"): ("teacher: a b (topic)", "125,188"),
        ("4", "emotion", "QD-LLM"): (f"{student} (senti)", "65.0%"),
        ("6", "thematic", "QD-LLM"): (f"{student} (topic)", "75.0%"),
        ("6", "thematic", "PKD"): (f"{bert} (topic)", "60.0%"),
        ("7", "mean of 3", "JS"): ("student by JS (topic, stega)", "55.0%"),
        ("8", "mean of 3", "QD-LLM"): (f"{student} (topic, senti)", "70.0%"),
    }
    (own,) = (line for line in lines(tmp_path) if line["f1"].startswith("0.8601"))
    assert (own["f1"], own["a second"], own["recall"]) == ("0.8601 · 0.9000", "5.10e-3 · 2.00e+00", "0.8871")
    said = printed.note(tmp_path)
    assert "qflock topic 0.1.0 abc, senti 0.1.0 abc, terms of the loss 0.1.0 def." in said
    assert all(word in said for word in ("Data: ", "Teacher: ", "Encoder: "))


@pytest.mark.parametrize("key", qdllm.METRICS)
def test_the_printed_means_are_those_of_the_printed_teachers(key):
    """109 rows typed by hand: a slip of a finger would show."""
    rows = qdllm.published(*(f"Table {number}" for number in range(3, 9)))
    assert len(rows) == 109
    of: dict[tuple[str, str], list[float]] = {}
    means = {}
    for one in rows:
        if one["table"] in ("Table 4", "Table 5", "Table 6"):
            at = one["table"], one["method"]
            if one["teacher"] == "mean of 5":
                means[at] = float(one[key])
            else:
                of.setdefault(at, []).append(float(one[key]))
    assert len(means) == 15
    assert {at: np.mean(values) for at, values in of.items()} == pytest.approx(means, abs=2.5e-4)


def test_every_corpus_is_a_recipe_and_stands_among_the_systems():
    drawn = systems.table(RESULTS)
    cells = {column.header: list(column.cells) for column in drawn.columns}
    own = [c for s, c in zip(cells["system"], cells["corpus"], strict=True) if s.startswith("QD-LLM")]
    assert own == list(qdllm.CORPORA)
    for corpus in own:
        load(f"qd-llm-{corpus}", central(load(f"qd-llm-{corpus}")))
    papers = dict(zip(own, cells["paper"][-len(own) :], strict=True))
    assert [corpus for corpus, said in papers.items() if said == "no number"] == ["reviews"]
    for row, said in zip(systems.SYSTEMS, cells["seeds"], strict=True):
        measured = row.arms(RESULTS)
        assert said == " and ".join({str(len(measured[arm])) for arm in ("student", "twin") if measured.get(arm)})


@pytest.mark.parametrize(("corpus", "ours"), [("thematic", "0.8581"), ("emotion", "0.8012"), ("hiding", "0.8123")])
def test_the_published_rows_are_the_papers_means(corpus, ours):
    tables = ("Table 4", "Table 5", "Table 6")
    rows = {one["method"]: one["accuracy"] for one in qdllm.published(*tables, task=corpus, teacher="mean of 5")}
    assert list(rows) == ["TinyBERT", "MiniLLM", "DistilBERT", "PKD", "Ours"]
    assert rows["Ours"] == ours
    assert (qdllm.size_of("Ours"), qdllm.size_of("TinyBERT")) == ("9275", "14.35e6")


ONE_PLACE = {
    **{"clients": 1, "min_reports": 1, "rounds": 1, "data": {"rows": 60, "reference_rows": 100}},
    **{"features": {"buckets": 64}, "student": {"kind": "layered", "readout": "dense", "entanglement": "circular"}},
    "optimiser": {"kind": "minibatch"},
}


def test_no_row_is_encoded_while_fits_are_timed(monkeypatch, tmp_path):
    monkeypatch.setenv("QFLOCK_MEMORY", str(tmp_path))
    recipe = load(json.dumps(ONE_PLACE))
    who = Participant(recipe, 0)
    shared = qdllm.agreed(who)
    qdllm.warm(who, shared)
    read = []
    monkeypatch.setattr(type(who.stages[0]), "apply", lambda *_: read.append(1))
    qdllm.distilled(who, shared, "student")
    assert not read
