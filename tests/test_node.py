"""A node chooses what the recipe lets it choose: its rows, its executor, its adapter's rank; the rest is one line."""

import numpy as np
import pytest

from data.corpus import DataError
from data.own import own_rows
from recipes.load import load
from recipes.node import NodeConfig, applied, node_at
from recipes.section import RecipeError
from server.ledger import lines
from server.ready import ready
from strategies.adapters import ranks
from teacher.adapted import Adapted

GOOD, BAD = ["good", "fine", "great", "happy"], ["bad", "awful", "sad", "poor"]


def rows(n, seed=0, labels=("bad", "good")):
    """n rows of four words, which tell the class, in equal parts."""
    rng = np.random.default_rng(seed)
    words = (BAD, GOOD, GOOD)
    texts = [
        f"{labels[i % len(labels)]}\t{' '.join(rng.choice(words[i % len(labels)], 4))} {seed} {i}" for i in range(n)
    ]
    return "\n".join(texts) + "\n"


@pytest.fixture
def recipe(tmp_path):
    """A recipe whose nodes may bring rows, shoot and tune adapters of rank 2; the server has 60 rows."""
    (tmp_path / "server.tsv").write_text(rows(60))

    def make(*changes):
        base = [f"data.path={tmp_path / 'server.tsv'}", "data.corpus=text", "data.reference_rows=30", "clients=3"]
        base += ["features.buckets=64", "rounds=2", "nodes.classes=[bad, good]", "nodes.executors=['shots']"]
        return load("smoke", [*base, "optimiser.maxiter=18", *changes])

    return make


@pytest.fixture
def node(tmp_path):
    """`node(text)`: a node.yaml, in a folder of its own beside rows of its own."""

    def make(text, content=None, name="node"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "rows.tsv").write_text(rows(30, seed=9) if content is None else content)
        (folder / "node.yaml").write_text(text)
        return folder / "node.yaml"

    return make


def test_a_node_without_a_file_and_one_with_an_empty_group_follow_the_recipe(recipe, node):
    assert node_at("", recipe()) == node_at(str(node("{}")), recipe()) == NodeConfig()
    assert applied(NodeConfig(), recipe()) == recipe()


def test_a_path_is_relative_to_the_file_that_says_it(recipe, node):
    file = node("path: rows.tsv")
    assert node_at(str(file), recipe()).path == str(file.parent / "rows.tsv")
    for elsewhere in ("/elsewhere/x.tsv", "~/x.tsv", "hf:owner/rows"):
        assert node_at(str(node(f"path: {elsewhere}")), recipe()).path == elsewhere


WRONG = {
    "no such key": ("exectuor: exact", [], "node.yaml: exectuor is not a key. Did you mean executor?"),
    "a key of the recipe": ("rounds: 3", [], "node.yaml: rounds is not a key. Keys here: path, executor, rank"),
    "a type": ("rank: four", [], 'node.yaml: rank is "four"; it must be a whole number from 1 to 1024 or null'),
    "no YAML": ("rank: [", [], "node.yaml line 1: not valid YAML"),
    "a list": ("- rank", [], 'node.yaml: holds ["rank"]; it must be lines of key: value'),
    "rows where none are wanted": (
        "path: rows.tsv",
        ["nodes.classes=[]"],
        'node.yaml: path is "rows.tsv"; the recipe smoke deals out the rows itself: leave it out, or let the recipe '
        "name the classes of nodes' own rows in nodes.classes",
    ),
    "an executor that is not allowed": (
        "executor: aer",
        [],
        'node.yaml: executor is "aer"; the recipe smoke allows exact, shots (nodes.executors)',
    ),
    "a rank that is not allowed": (
        "rank: 4",
        ["teacher.kind=lora", "nodes.ranks=[2]"],
        "node.yaml: rank is 4; the recipe smoke allows 8, 2 (nodes.ranks)",
    ),
}


@pytest.mark.parametrize(("text", "changes", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_chosen_is_one_line(text, changes, said, recipe, node):
    with pytest.raises(RecipeError) as error:
        node_at(str(node(text)), recipe(*changes))
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_line(recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere.yaml: cannot be read"):
        node_at(str(tmp_path / "nowhere.yaml"), recipe())


NOT_ALLOWED = {
    "one class": (["nodes.classes=[good]"], 'nodes.classes is ["good"]; it must name two classes or more'),
    "a corpus without rows of nodes": (
        ["data.corpus=synthetic", "data.path=''"],
        "nodes.classes is set; only with corpus text has a node rows of its own, not with synthetic",
    ),
    "public rows that nodes do not have": (
        ["data.public_rows=5", "distil.weight=1"],
        "data.public_rows are rows of data.path, which a node with rows of its own does not have",
    ),
    "an executor that nobody has": (["nodes.executors=[quick]"], "nodes.executors names quick"),
    "an executor that costs money": (
        ["nodes.executors=['ibm:least-busy']"],
        "nodes.executors names ibm:least-busy, which costs money",
    ),
    "an executor without gradients": (
        ["nodes.executors=[shots]", "optimiser.kind=adam"],
        "nodes.executors names shots: optimiser.kind is adam; its gradients are exact",
    ),
    "ranks that have no mean": (
        ["teacher.kind=lora", "teacher.federate=average", "nodes.ranks=[2, 4]"],
        "nodes.ranks is [2, 4]; under average, adapters of different ranks have no mean: set teacher.federate to exact",
    ),
    "ranks under ffa": (
        ["teacher.kind=lora", "teacher.federate=ffa", "nodes.ranks=[2]"],
        "nodes.ranks is [2]; under ffa",
    ),
    "ranks of a teacher without any": (["nodes.ranks=[2]"], "nodes.ranks is set; a teacher of kind tiny has no rank"),
}


@pytest.mark.parametrize(("changes", "said"), NOT_ALLOWED.values(), ids=NOT_ALLOWED)
def test_a_recipe_that_allows_what_cannot_be_is_refused(changes, said, recipe):
    with pytest.raises(RecipeError) as error:
        recipe(*changes)
    assert said in str(error.value)


def test_an_adapter_of_another_rank_keeps_the_scale_of_the_recipe(recipe):
    taught = recipe("teacher.kind=lora", "nodes.ranks=[2, 16]", "teacher.alpha=24").teacher
    for rank in (2, 16):
        mine = applied(NodeConfig(rank=rank), recipe("teacher.kind=lora", "nodes.ranks=[2, 16]", "teacher.alpha=24"))
        assert mine.teacher.rank == rank
        assert mine.teacher.alpha / rank == taught.alpha / taught.rank


def test_own_rows_have_the_numbers_of_the_recipes_classes(recipe, tmp_path):
    (tmp_path / "two.tsv").write_text(
        rows(30, labels=("good", "bad")).replace("good\t", "GOOD\t").replace("GOOD", "good")
    )
    mine = recipe("nodes.classes=[awful, bad, good]")
    corpus, share, public = own_rows(str(tmp_path / "two.tsv"), mine, 0)
    assert corpus.classes == ["awful", "bad", "good"]
    assert sorted(set(corpus.labels.tolist())) == [1, 2]
    assert sum(map(len, (share.train, share.validation, share.test))) == 30
    assert len(public) == 0


def test_own_rows_of_a_class_that_nobody_knows_are_refused(recipe, tmp_path):
    (tmp_path / "odd.tsv").write_text(rows(30, labels=("bad", "good", "so-so")))
    with pytest.raises(DataError, match=r"odd.tsv: the label 'so-so' is none of bad, good, the classes that nodes"):
        own_rows(str(tmp_path / "odd.tsv"), recipe(), 0)


def test_a_server_whose_rows_have_other_classes_is_refused_before_a_run(recipe):
    with pytest.raises(
        DataError, match=r"nodes.classes is bad, better; .*server.tsv has bad, good: make them the same"
    ):
        ready(recipe("nodes.classes=[bad, better]"), fetch=False)


def test_nodes_of_every_kind_make_one_federation_and_the_ledger_says_what_each_chose(recipe, node, run_here):
    own = recipe()
    nodes = {0: node("path: rows.tsv", name="a"), 2: node("executor: shots", name="c")}
    ledger = lines(run_here("mixed", {"recipe": own.as_json()}, 3, nodes=nodes))
    assert ledger[-1]["state"] == "completed"
    assert ledger[0]["failed"] == {}
    assert ledger[0]["nodes"] == {"0": {"rows": "its own"}, "2": {"executor": "shots"}}
    assert sum(ledger[0]["holds"]["0"]["parts"].values()) == 30
    shots = {client: said["shots"] for client, said in ledger[-3]["arms"]["student"]["clients"].items()}
    assert shots["0"] == shots["1"] == 0 < shots["2"]


def test_a_file_may_be_named_by_the_environment_and_the_flag_counts_more(recipe, node, run_here, monkeypatch):
    monkeypatch.setenv("QFLOCK_NODE", str(node("executor: shots", name="a")))
    ledger = lines(run_here("named", {"recipe": recipe("rounds=1").as_json()}, 3, nodes={1: node("{}", name="b")}))
    assert ledger[0]["nodes"] == {"0": {"executor": "shots"}, "2": {"executor": "shots"}}


def test_a_node_whose_rows_do_not_fit_says_why_and_is_left_out(recipe, node, run_here):
    nodes = {
        0: node("path: rows.tsv", rows(30, labels=("bad", "good", "so-so")), name="a"),
        1: node("executor: aer", name="b"),
    }
    ledger = lines(run_here("unfit", {"recipe": recipe("min_reports=1").as_json()}, 3, nodes=nodes))
    assert ledger[-1]["state"] == "completed"
    assert ledger[0]["clients"] == [2]
    assert "the label 'so-so' is none of bad, good" in ledger[0]["failed"]["0"]
    assert ledger[0]["failed"]["1"].startswith('RecipeError: node.yaml: executor is "aer"; the recipe smoke allows')


def test_teachers_of_different_ranks_aggregate_exactly(recipe, node, run_here, tiny_llm, monkeypatch):
    scales, learnt, real = set(), {}, Adapted.__init__

    def seen(self, llm, config, n_classes, rank):
        scales.add(config.alpha / config.rank)
        real(self, llm, config, n_classes, rank)

    monkeypatch.setattr(Adapted, "__init__", seen)
    from strategies import adapters

    federate = adapters.exact
    monkeypatch.setitem(
        adapters.RULES,
        "exact",
        lambda updates, weights, rank: (
            learnt.update(enumerate(map(ranks, updates))),
            federate(updates, weights, rank),
        )[1],
    )
    llm = [
        f"teacher.model={tiny_llm('llama')}",
        "teacher.kind=lora",
        "teacher.layers=0",
        "teacher.epochs=1",
        "teacher.max_tokens=16",
    ]
    mine = recipe(*llm, "teacher.federate=exact", "teacher.rank=2", "nodes.ranks=[1, 4]", "student.twin=false")
    nodes = {1: node("rank: 1", name="b"), 2: node("rank: 4", name="c")}
    ledger = lines(run_here("ranks", {"recipe": mine.as_json()}, 3, nodes=nodes))
    assert ledger[-1]["state"] == "completed"
    assert ledger[0]["nodes"] == {"1": {"rank": "1"}, "2": {"rank": "4"}}
    assert [set(one.values()) for one in learnt.values()] == [{2}, {1}, {4}]
    assert sorted(next(line for line in ledger if line["kind"] == "round")["teacher"]["clients"]) == ["0", "1", "2"]
    assert scales == {mine.teacher.alpha / 2}
