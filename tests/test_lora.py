"""The LLM teacher on tiny random models of five families, against plain transformers with W₀ + ΔW."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import version
from threading import Barrier

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from client.lessons import travels
from recipes.schema import TeacherConfig
from recipes.section import InputError
from server.folder import APP
from teacher import lora
from teacher.kept import one_thread
from teacher.models import check_teacher
from teacher.protocol import TeacherError, teacher
from teacher.size import adapter_bytes
from teacher.soft_labels import softened

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TARGETS = {
    "llama": ("q_proj", "v_proj"),
    "gpt2": ("c_attn", "mlp.c_proj"),
    "opt": ("q_proj", "v_proj"),
    "bloom": ("query_key_value",),
    "gemma3_text": ("q_proj", "down_proj"),
}
SIDES = ("good fine great happy", "bad awful sad poor")
ASKED = ["good", "bad sad table lamp desk chair", "", "fine <end> good <end>", "awful", "unknown words", "lamp great"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=TARGETS)
def family(request):
    return request.param


@pytest.fixture
def config(tiny_llm):
    def of(family="llama", seed=0, **changes):
        few = {"rank": 4, "layers": 2, "rate": 5e-3, "epochs": 4, "batch": 4, "max_tokens": 32, "dtype": "float32"}
        model = {"model": str(tiny_llm(family, seed)), "targets": TARGETS[family]}
        return TeacherConfig(kind="lora", **{**model, **few, **changes})

    return of


def rows(n_rows, seed):
    """Texts of two to four words of their class, and their classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_rows) % 2
    return [" ".join(rng.choice(SIDES[y].split(), rng.integers(2, 5))) for y in labels], labels


def shaken(one, seed=1):
    """A teacher with a random adapter, whose B is not zero."""
    rng = np.random.default_rng(seed)
    one.load_adapter({name: rng.normal(0, 0.3, a.shape).astype(np.float32) for name, a in one.adapter().items()})
    return one


def logits(one, texts):
    probs = np.log(one.soft_labels(texts, 1.0))
    return probs - probs.mean(axis=1, keepdims=True)


def plainly(config, adapter, texts):
    """The same logits by transformers alone: one text at a time, no padding, W₀ + ΔW in place of W₀."""
    model = transformers.AutoModel.from_pretrained(config.model, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.model)
    (layers,) = [m for _, m in model.named_modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 4]
    for name in {name[:-2] for name in adapter if not name.startswith("head/")}:
        number, _, below = name.partition("/")
        weight = layers[int(number)].get_submodule(below).weight
        delta = config.alpha / config.rank * adapter[f"{name}/B"] @ adapter[f"{name}/A"]
        weight.data += torch.from_numpy(delta if delta.shape == weight.shape and "c_" not in name else delta.T)
    found = []
    for text in texts:
        ids = tokenizer(text)["input_ids"][: config.max_tokens] or [tokenizer.eos_token_id]
        with torch.inference_mode():
            end = model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1].numpy()
        found.append(adapter["head/weight"] @ end + adapter["head/bias"])
    return np.array(found) - np.mean(found, axis=1, keepdims=True)


@pytest.mark.parametrize("changes", [{}, {"rank": 64, "layers": 0}, {"max_tokens": 3}], ids=["", "r64-all", "cut"])
def test_an_adapted_llm_is_the_plain_one_with_ba_added_whatever_is_padded_beside_a_text(family, changes, config):
    asked = config(family, **changes)
    one = shaken(teacher(asked, 3))
    assert_allclose(logits(one, ASKED), plainly(asked, one.adapter(), ASKED), atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_kept_lower_layers_leave_the_bits_of_logits_and_gradients(family, dtype, config):
    asked = config(family, dtype=dtype)
    one = shaken(teacher(asked, 2))
    texts, labels = rows(12, 0)
    llm, (tokens, lower) = one._adapted(), one._tokens(texts)
    for piece in lora.batches(tokens, asked.batch):
        found = []
        for states in (None, lower(piece)):
            logits_BK = llm.logits(*lora.padded(tokens, piece), states)
            gradients = torch.autograd.grad(
                torch.nn.functional.cross_entropy(logits_BK, torch.from_numpy(labels[piece])),
                list(llm.parameters.values()),
            )
            found.append([logits_BK.detach().numpy(), *(g.numpy() for g in gradients)])
        for whole, from_kept in zip(*found, strict=True):
            assert np.abs(whole).max() > 0
            assert_array_equal(whole, from_kept)


def test_the_adapter_and_the_head_are_float32_on_a_bfloat16_base(config):
    one = teacher(config(dtype="bfloat16"), 2)
    assert {p.dtype for p in one._adapted().parameters.values()} == {torch.float32}
    assert {array.dtype for array in one.adapter().values()} == {np.dtype("float32")}


def test_a_teacher_learns_and_says_how_fast(config):
    tuning = teacher(config(), 2).tune(*rows(80, 0), *rows(40, 1))
    assert tuning.loss < 0.5
    assert min(tuning.accuracy, tuning.f1) > 0.9
    assert tuning.seconds > 0
    assert tuning.tokens_per_second > 0


def test_equal_seeds_give_equal_bits_and_a_client_shuffles_in_its_own_way(config, tmp_path, monkeypatch):
    tuned = {}
    for place, seed, client in (("a", 0, 0), ("b", 0, 0), ("c", 0, 1), ("d", 1, 0)):
        monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / place))  # nothing kept is found
        one = teacher(config(dropout=0.2), 2, seed, client)
        tuned[place] = (one.adapter(), one.tune(*rows(16, 0), *rows(8, 1)).loss, one.adapter())
        torch.manual_seed(5)  # somebody else's numbers do not matter
    for name in tuned["a"][2]:
        assert_array_equal(tuned["a"][2][name], tuned["b"][2][name])
        assert_array_equal(tuned["a"][0][name], tuned["c"][0][name])  # all clients start from one adapter
    assert len({loss for _, loss, _ in tuned.values()}) == 3
    assert any((tuned["a"][0][name] != tuned["d"][0][name]).any() for name in tuned["a"][0])


def test_the_first_adapter_and_a_clients_shuffles_are_streams_of_their_own(config, monkeypatch):
    asked, real = [], lora.stream
    monkeypatch.setattr(lora, "stream", lambda *of: (asked.append(of), real(*of))[1])
    teacher(config(), 2, 7, 3).tune(*rows(8, 0), *rows(4, 1))
    assert asked == [(7, "adapter"), (7, "tuning", 3)]


def test_tuning_shifts_nobody_elses_random_numbers(config):
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    teacher(config(dropout=0.5), 2).tune(*rows(8, 0), *rows(4, 1))
    assert_array_equal(torch.rand(3), wanted)


def test_clients_of_one_process_share_frozen_weights_and_never_an_adapter(config, tmp_path, monkeypatch):
    one, two = (teacher(config(), 2, 0, client) for client in (0, 1))
    shared = {p.data_ptr(): p.clone() for p in one._adapted().base.model.parameters()}
    before = logits(two, ASKED)
    one.tune(*rows(16, 0), *rows(8, 1))
    held = [{p.data_ptr() for p in (*llm._llm.parameters(), *llm.parameters.values())} for llm in (one._llm, two._llm)]
    assert held[0] & held[1] == set(shared)
    assert all((p == shared[p.data_ptr()]).all() for p in one._llm.base.model.parameters())
    monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / "another"))  # computed anew
    assert_array_equal(logits(two, ASKED), before)
    one.adapter()["head/bias"][:] = 9.0
    assert (one.adapter()["head/bias"] != 9.0).all()


def test_a_damaged_file_of_the_cache_is_made_anew(config, tmp_path):
    first = teacher(config(), 2)
    tuning = first.tune(*rows(16, 0), *rows(8, 1))
    files = [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".npy", ".npz")]
    assert {path.name.partition("-")[0] for path in files} == {"lower", "logits", "lora"}
    for path in files:
        path.write_bytes(path.read_bytes()[:-9])
    again = teacher(config(), 2)
    assert again.tune(*rows(16, 0), *rows(8, 1)).loss == tuning.loss
    assert_array_equal(again.adapter()["head/weight"], first.adapter()["head/weight"])


def test_no_texts_have_no_soft_labels(config):
    assert teacher(config(), 2).soft_labels([], 1.0).shape == (0, 2)


@pytest.fixture
def loads(monkeypatch):
    """How often an LLM was asked for."""
    asked, real = [], lora.base

    def counted(*what):
        asked.append(what)
        return real(*what)

    monkeypatch.setattr(lora, "base", counted)
    return asked


def test_a_tuning_is_done_once_for_the_same_rows_section_seed_and_client(config, loads):
    first = teacher(config(), 2, 3, 1)
    tuning = first.tune(*rows(16, 0), *rows(8, 1))
    asked = first.soft_labels(ASKED, 2.0)
    assert loads
    loads.clear()
    again = teacher(config(), 2, 3, 1)
    assert again.tune(*rows(16, 0), *rows(8, 1)) == replace(tuning, seconds=0.0, tokens_per_second=0.0)
    assert_array_equal(again.soft_labels(ASKED, 2.0), asked)
    assert_array_equal(again.adapter()["head/weight"], first.adapter()["head/weight"])
    assert not loads
    assert list(again.adapter()) == list(first.adapter())


@pytest.mark.parametrize("other", ["section", "seed", "client", "texts", "labels", "start"])
def test_anything_that_tuning_depends_on_tunes_anew(other, config, loads):
    texts, labels = rows(16, 0)
    teacher(config(), 2, 0, 0).tune(texts, labels, *rows(8, 1))
    loads.clear()
    seed, client = int(other == "seed"), int(other == "client")
    one = teacher(config(epochs=1) if other == "section" else config(), 2, seed, client)
    if other == "start":
        shaken(one)
    texts = [*texts[1:], "bad lamp"] if other == "texts" else texts
    one.tune(texts, 1 - labels if other == "labels" else labels, *rows(8, 1))
    assert loads


def test_tuning_goes_on_from_a_loaded_adapter(config):
    one = teacher(config(), 2)
    first = one.tune(*rows(16, 0), *rows(8, 1))
    two = teacher(config(rate=1e-6, epochs=1), 2)
    two.load_adapter(one.adapter())
    assert two.tune(*rows(16, 0), *rows(8, 1)).loss == pytest.approx(first.loss, abs=1e-3)


def test_under_ffa_a_stays_what_every_client_started_from(config):
    one = teacher(config(federate="ffa"), 2)
    first = one.adapter()
    one.tune(*rows(16, 0), *rows(8, 1))
    moved = {name[-2:] for name, array in one.adapter().items() if (array != first[name]).any()}
    assert moved == {"/B", "ht", "as"}  # the head's weight and bias


@pytest.mark.parametrize("federate", ["average", "ffa", "exact"])
@pytest.mark.parametrize("layers", [2, 0])
def test_the_size_of_what_travels_is_known_without_the_weights(family, federate, layers, config, loads):
    asked = config(family, federate=federate, layers=layers, rank=3)
    known = adapter_bytes(asked, 3, 3)
    assert not loads
    sent = [array for name, array in teacher(asked, 3).adapter().items() if travels(name, federate)]
    assert known == sum(array.nbytes for array in sent)


def test_under_exact_an_adapter_of_other_ranks_has_the_same_logits_and_can_be_tuned_further(config):
    asked = config(federate="exact")
    one, two = shaken(teacher(asked, 2)), teacher(asked, 2)
    doubled = one.adapter()
    for name in {name[:-2] for name in doubled if name.startswith("2/")}:  # B·A = [B/2 B/2]·[A; A], in one layer
        doubled[f"{name}/A"] = np.vstack([doubled[f"{name}/A"]] * 2)
        doubled[f"{name}/B"] = np.hstack([doubled[f"{name}/B"] / 2] * 2)
    two.load_adapter(doubled)
    assert_allclose(logits(two, ASKED), logits(one, ASKED), atol=1e-5)
    two.tune(*rows(16, 0), *rows(8, 1))
    assert len(two.adapter()["2/self_attn.q_proj/A"]) == 8
    with pytest.raises(TeacherError, match=r"A is 8×32, not 4×32: the rank or the base model differs"):
        teacher(config(), 2).load_adapter(doubled)


@pytest.mark.parametrize(
    ("other", "n_classes", "reason"),
    [
        ({"rank": 8}, 2, r"3/self_attn.*A is 8×32, not 4×32: the rank or the base model differs|the adapter's 2/self"),
        ({}, 3, r"the adapter's head/weight is 3×32, not 2×32: the number of classes or the base model differs"),
        (
            {"layers": 3},
            2,
            r"the adapter holds 1/self_attn\.. *.*; it was made for another base model, other layers or",
        ),
        ({"family": "bloom"}, 2, r"the adapter lacks 2/self_attn.*; it was made for another base model"),
    ],
)
def test_an_adapter_of_another_shape_is_refused_with_the_difference(other, n_classes, reason, config):
    foreign = teacher(config(**other), n_classes).adapter()
    with pytest.raises(TeacherError, match=reason):
        teacher(config(), 2).load_adapter(foreign)


GOOD = (["good fine", "bad sad", "great happy", "awful poor"], [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("train", "held", "reason"),
    [
        ((GOOD[0][:3], [0, 1, 0]), GOOD, "3 training rows are too few to tune a teacher; it needs 4"),
        ((GOOD[0], [1, 1, 1, 1]), GOOD, "all 4 training rows are of class 1, so there is nothing to learn"),
        (GOOD, ([], []), "no held-out rows, so a teacher cannot be measured; give the client more rows"),
        ((GOOD[0], [0, 1, 0, 3]), GOOD, "the rows hold class 3; the teacher knows 0 to 2"),
        (GOOD, (["good"], [2]), "the held-out rows hold class 2, of which no training row is"),
    ],
)
def test_rows_that_a_teacher_cannot_learn_from_are_refused_before_the_llm_is_loaded(train, held, reason, config, loads):
    with pytest.raises(TeacherError) as raised:
        teacher(config(), 3).tune(*train, *held)
    assert str(raised.value) == reason
    assert not loads


def test_what_a_model_cannot_do_is_refused_in_one_line(config, tiny_llm, tmp_path):
    model = str(tiny_llm())
    cases = {
        "targets": (
            {"targets": ("q_proj", "query")},
            f"teacher.targets has query; the modules in a layer of {model} are "
            "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
        ),
        "layers": ({"layers": 5}, f"teacher.layers is 5; {model} has 4 layers"),
        "tokens": ({"max_tokens": 65}, f"teacher.max_tokens is 65; {model} takes 64 tokens at most"),
        "nowhere": ({"model": "/no/such"}, "/no/such holds no config.json, so it is no model folder of transformers"),
    }
    if not torch.cuda.is_available():
        cases["4 bits"] = (
            {"quantised": True},
            "teacher.quantised is true; 4-bit weights need a CUDA device: set it to false",
        )
    for changes, reason in cases.values():
        with pytest.raises(InputError) as raised:
            teacher(config(**changes), 2).tune(*GOOD, *GOOD)
        assert str(raised.value) == reason
    for family in ("llama", "gpt2"):  # transformers makes an empty GPT-2 tokenizer out of nothing
        mute = tmp_path / family
        shutil.copytree(tiny_llm(family), mute, ignore=shutil.ignore_patterns("token*"))
        with pytest.raises(TeacherError, match=f"{mute} has no tokenizer that transformers can read; save one beside"):
            teacher(config(family, model=str(mute)), 2).tune(*GOOD, *GOOD)
    with pytest.raises(
        InputError, match=r"the model nobody/nothing cannot be fetched from the hub \(.*; name a folder"
    ):
        teacher(config(model="nobody/nothing"), 2).tune(*GOOD, *GOOD)
    transformers.T5Config().save_pretrained(tmp_path / "t5")
    with pytest.raises(TeacherError, match="is a t5, which is no causal language model"):
        teacher(config(model=str(tmp_path / "t5")), 2).tune(*GOOD, *GOOD)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("/no/such", r"^/no/such holds no config.json, so it is no model folder of transformers$"),
        ("nobody/nothing", r"^the model nobody/nothing cannot be fetched from the hub \(.*\); name a folder instead$"),
    ],
)
def test_a_model_that_is_missing_is_not_called_one_without_a_tokenizer(model, reason, config):
    with pytest.raises(InputError, match=reason):
        check_teacher(config(model=model))


def test_weights_that_are_missing_are_named(config, tiny_llm, tmp_path):
    shutil.copytree(tiny_llm(), tmp_path / "hollow", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(TeacherError, match="hollow: its weights cannot be read"):
        teacher(config(model=str(tmp_path / "hollow")), 2).tune(*GOOD, *GOOD)


def test_a_tokenizer_of_another_model_is_refused(config, tiny_llm, tmp_path):
    wider = tmp_path / "wider"
    shutil.copytree(tiny_llm(), wider)
    tokenizer = transformers.AutoTokenizer.from_pretrained(wider)
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(wider)
    with pytest.raises(TeacherError, match=r"its tokenizer has 15 tokens and its weights have 14"):
        teacher(config(model=str(wider)), 2).adapter()


def test_another_model_in_the_same_architecture_shares_nothing_that_is_kept(config):
    one, two = teacher(config(), 2), teacher(config(seed=1), 2)
    assert lora.facts(one.config.model, "float32", False) != lora.facts(two.config.model, "float32", False)
    assert (one.soft_labels(ASKED, 1.0) != two.soft_labels(ASKED, 1.0)).any()


def test_what_is_kept_has_the_same_bits_on_any_number_of_threads(config, tmp_path, monkeypatch):
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            monkeypatch.setenv("QFLOCK_CACHE", str(tmp_path / str(threads)))
            torch.set_num_threads(threads)
            one = teacher(config(), 2)
            _, lower = one._tokens(ASKED)
            found.append(lower([0, 1, 2, 3]))
    finally:
        torch.set_num_threads(before)
    assert_array_equal(*found)


def test_two_runs_side_by_side_tune_a_teacher_once_and_both_have_it(config, monkeypatch):
    learnt, real, both = [], lora.LoraTeacher.learn, Barrier(2)
    monkeypatch.setattr(lora.LoraTeacher, "learn", lambda self, *rows: (learnt.append(self), real(self, *rows))[1])
    texts, labels = rows(8, 0)

    def tuned(one):
        both.wait()
        return one.tune(texts, labels, texts, labels)

    teachers = [teacher(config(epochs=1), 2), teacher(config(epochs=1, federate="exact", merged_rank=8), 2)]
    with ThreadPoolExecutor(2) as side_by_side:
        first, second = side_by_side.map(tuned, teachers)
    assert len(learnt) == 1
    assert replace(first, seconds=0.0, tokens_per_second=0.0) == replace(second, seconds=0.0, tokens_per_second=0.0)
    assert sorted((first.seconds > 0, second.seconds > 0)) == [False, True]
    for name, array in teachers[0].adapter().items():
        assert_array_equal(array, teachers[1].adapter()[name])


@pytest.mark.skipif(
    not version("torch").endswith("+cpu"), reason="what a torch with CUDA computes on, it must be asked"
)
def test_a_process_that_finds_a_kept_tuning_and_its_answers_never_imports_torch(config):
    chosen = config(epochs=1)
    one, (texts, labels) = teacher(chosen, 2), rows(8, 0)
    with one_thread():  # as in a recipe that says nothing of threads
        tuning, soft_BK = one.tune(texts, labels, texts, labels), one.soft_labels(texts, 2.0)
    again = f"""
import sys
import numpy as np
from recipes.schema import TeacherConfig
from teacher.protocol import teacher
one, texts, labels = teacher(TeacherConfig(**{asdict(chosen)!r}), 2), {texts!r}, np.array({labels.tolist()!r})
print(one.tune(texts, labels, texts, labels), one.soft_labels(texts, 2.0).tolist(), "torch" in sys.modules)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(APP)}
    said = subprocess.run([sys.executable, "-c", again], env=environment, capture_output=True, text=True, check=True)
    kept = replace(tuning, seconds=0.0, tokens_per_second=0.0)
    assert said.stdout.strip() == f"{kept} {soft_BK.tolist()} False"


@pytest.mark.parametrize("said", ["1", "3", "2,1", ""])
def test_the_threads_of_torch_are_known_without_it(said):
    asks = "from teacher.kept import threads; known = threads(); import torch; print(known, torch.get_num_threads())"
    environment = os.environ | {"OMP_NUM_THREADS": said, "PYTHONPATH": str(APP)}
    told = subprocess.run([sys.executable, "-c", asks], env=environment, capture_output=True, text=True, check=True)
    known, used = told.stdout.split()
    assert known == used


def test_the_features_of_a_tuned_teacher_are_what_its_head_reads(config):
    one, (texts, labels) = teacher(config(epochs=1), 2), rows(12, 0)
    one.tune(texts, labels, texts, labels)
    head = one.adapter()
    logits = one.features(texts) @ head["head/weight"].T + head["head/bias"]
    assert_allclose(softened(logits, 1.0), one.soft_labels(texts, 1.0), atol=1e-5)
