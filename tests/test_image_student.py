"""Students of images: pure functions of named arrays, that learn; and what cannot be generated, refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from data.corpus import load
from quantum import image_student, targets
from quantum.arms import arms, student
from quantum.image_student import ImageStudent, check
from recipes.schema import DataConfig, GeneratorConfig, OptimiserConfig, StudentConfig
from recipes.section import RecipeError

DIGITS = load(DataConfig(corpus="digits"), 0)
X, Y = DIGITS.images[:300], DIGITS.labels[:300]
SEARCH = OptimiserConfig(kind="minibatch", learning_rate=0.01, batch=32)
WAYS = ("circuit", "hash", "low-rank", "small", "full")


def one(by="full", **keys):
    return ImageStudent(GeneratorConfig(by=by, target="digits", blocks=2, **keys), 10)


@pytest.mark.parametrize("by", WAYS)
def test_every_way_is_a_pure_function_of_its_arrays(by):
    found = one(by)
    start = found.initial(0)
    before = {name: array.copy() for name, array in start.items()}
    fit = found.fit(start, X, Y, SEARCH, 3, seed=1)
    for name, array in start.items():
        assert_array_equal(array, before[name])
        assert (fit.arrays[name].shape, fit.arrays[name].dtype) == (array.shape, np.float32)
        assert not np.array_equal(fit.arrays[name], array)
        assert_array_equal(found.fit(start, X, Y, SEARCH, 3, seed=1).arrays[name], fit.arrays[name])
        assert_array_equal(one(by).initial(0)[name], array)
        assert not np.array_equal(one(by).initial(1)[name], array)
    probs = found.predict(fit.arrays, X[:7])
    assert probs.shape == (7, 10)
    assert_allclose(probs.sum(axis=1), 1, atol=1e-12)
    assert fit.evaluations == 3
    assert sum(array.size for array in start.values()) == found.parameters


def test_angles_learn_at_their_pace_and_the_mapping_at_the_rate():
    found = one("circuit", pace=0.3)
    start, whole = found.initial(0), replace(SEARCH, batch=len(X))
    moved = {name: np.abs(array - start[name]).max() for name, array in found.fit(start, X, Y, whole, 3).arrays.items()}
    assert moved == pytest.approx({"beta": 0.3 * 0.01, "gamma": 0.01}, rel=1e-3)  # Adam's first step


def test_a_network_that_trains_itself_learns_digits():
    found = one("full")
    fit = found.fit(found.initial(0), X, Y, SEARCH, 3 * 8)
    assert fit.losses[-1] < 0.3 * fit.losses[0]
    held_out = slice(300, 600)
    guess = found.predict(fit.arrays, DIGITS.images[held_out]).argmax(1)
    assert np.mean(guess == DIGITS.labels[held_out]) > 0.7


def test_a_prediction_is_that_of_the_exported_network():
    found = one("circuit")
    arrays = found.initial(0)
    network = targets.TARGETS["digits"].build()
    network.load_state_dict(found.trained(arrays))
    with torch.no_grad():
        logits = network(torch.from_numpy(X[:20]).float() / 255)
    assert_allclose(found.predict(arrays, X[:20]), torch.softmax(logits, 1), atol=1e-6)


def test_the_proximal_term_holds_a_fit_near_its_start():
    from quantum.guidance import UNGUIDED

    found = one("full")
    start = found.initial(0)
    free, held = (
        found.fit(start, X, Y, SEARCH, 9, guidance=replace(UNGUIDED, proximal=mu)).arrays["weights"] for mu in (0, 100)
    )
    assert np.linalg.norm(held - start["weights"]) < 0.3 * np.linalg.norm(free - start["weights"])


def test_the_twin_of_a_circuit_is_a_hash_of_the_same_count():
    pair = arms(StudentConfig(kind="generator"), 10)
    assert [model.name for model in pair.values()] == ["circuit cnn", "hash cnn"]
    assert [model.parameters for model in pair.values()] == [1497, 1497]


def test_the_small_network_has_about_as_many_numbers_as_generate_the_target():
    assert ImageStudent(GeneratorConfig(by="small"), 10).parameters == 1419  # against 1,497


def test_clients_of_different_networks_share_all_arrays_and_their_first_weights():
    config = StudentConfig(kind="generator", twin=False, generator=GeneratorConfig(targets=("cnn", "cnn-4")))
    first, second = (student(config, 10, client) for client in (0, 1))
    arrays = first.initial(0)
    assert {name: a.shape for name, a in arrays.items()} == {n: a.shape for n, a in second.initial(0).items()}
    one, other = (torch.cat([part.ravel() for part in model.trained(arrays).values()]) for model in (first, second))
    assert (len(one), len(other)) == (6690, 5386)
    assert_array_equal(one[: len(other)], other)


def test_images_and_arrays_of_other_shapes_are_refused_by_name():
    found = one("full")
    with pytest.raises(ValueError, match=r"shape \(5, 1, 7, 8\); target digits takes images of \(1, 8, 8\)"):
        found.predict(found.initial(0), np.zeros((5, 1, 7, 8), np.uint8))
    with pytest.raises(ValueError, match=r"takes \{'weights': \(3270,\)\}"):
        found.predict({"theta": np.zeros(3, np.float32)}, X[:2])
    with pytest.raises(RecipeError, match="tells 10 classes apart, the corpus has 3"):
        ImageStudent(GeneratorConfig(), 3)


def test_a_target_with_running_statistics_is_refused_before_training(monkeypatch):
    normed = targets.Target((1, 28, 28), lambda: nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(784, 10)))
    monkeypatch.setitem(targets.TARGETS, "cnn", normed)
    with pytest.raises(RecipeError, match=r"cnn has the buffer 0\.running_mean, which no generator writes"):
        check(GeneratorConfig(), (1, 28, 28))


def tied():
    """Two layers with one weight."""
    one, other = nn.Linear(784, 784), nn.Linear(784, 784)
    other.weight = one.weight
    return nn.Sequential(nn.Flatten(), one, other, nn.Linear(784, 10))


UNDETERMINED = {
    "dropout": (
        lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(784, 10)),
        "target cnn has the layer 1, a Dropout: it draws numbers, so that the same weights answer otherwise every time",
    ),
    "dropout of channels": (
        lambda: nn.Sequential(nn.Sequential(nn.Dropout2d(), nn.Flatten()), nn.Linear(784, 10)),
        "has the layer 0.0, a Dropout2d",
    ),
    "slopes at random": (lambda: nn.Sequential(nn.RReLU(), nn.Flatten(), nn.Linear(784, 10)), "layer 0, a RReLU"),
    "tied weights": (tied, "target cnn has one parameter as 1.weight and as 2.weight, and a generator writes every"),
}


@pytest.mark.parametrize(("build", "line"), UNDETERMINED.values(), ids=UNDETERMINED)
def test_a_target_that_its_written_weights_do_not_determine_is_refused_before_training(build, line, monkeypatch):
    monkeypatch.setitem(targets.TARGETS, "cnn", targets.Target((1, 28, 28), build))
    with pytest.raises(RecipeError) as error:
        check(GeneratorConfig(), (1, 28, 28))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_a_prediction_is_that_of_a_network_which_no_longer_trains(monkeypatch):
    def build():
        return nn.Sequential(nn.Flatten(), Doubled(), nn.Linear(64, 10))

    monkeypatch.setitem(targets.TARGETS, "digits", targets.Target((1, 8, 8), build))
    found = one("full")
    arrays = found.initial(0)
    network = build().eval()
    network.load_state_dict(found.trained(arrays))
    with torch.no_grad():
        logits = network(torch.from_numpy(X[:20]).float() / 255)
    assert_allclose(found.predict(arrays, X[:20]), torch.softmax(logits, 1), atol=1e-6)


class Doubled(nn.Module):
    """Says another thing in training."""

    def forward(self, x):
        """Twice as much."""
        return 2 * x if self.training else x


@pytest.mark.parametrize("by", ["circuit", "hash", "low-rank"])
def test_a_mapping_network_beyond_memory_is_refused_before_anything_is_built(by):
    with pytest.raises(
        RecipeError, match=r"needs \d{4}\.\d GiB to write 3,270 weights, above .* use smaller widths or"
    ):
        check(GeneratorConfig(by=by, target="digits", widths=(4096,) * 3000), (1, 8, 8))


@pytest.mark.parametrize("by", ["circuit", "hash", "low-rank"])
def test_one_basis_state_has_no_effect_and_is_refused_two_have_one(by):
    with pytest.raises(RecipeError, match=r"chunk is 3270; one basis state .* at most 3269"):
        check(GeneratorConfig(by=by, target="digits", chunk=3270), (1, 8, 8))
    check(GeneratorConfig(by=by, target="digits", chunk=3269, blocks=2), (1, 8, 8))
    for chunk, moves in ((3270, False), (3269, True)):
        found = one(by, chunk=chunk)
        arrays = {name: torch.from_numpy(array).requires_grad_() for name, array in found.initial(0).items()}
        (found.weights(arrays) @ torch.linspace(-1, 1, 3270)).backward()
        assert bool(arrays["beta"].grad.any()) == moves


def test_a_target_of_other_images_and_one_beyond_memory_are_refused_before_training(monkeypatch):
    with pytest.raises(
        RecipeError, match="target vgg reads images of 3×32×32, the corpus has 1×28×28: use cnn, cnn-relu"
    ):
        check(GeneratorConfig(target="vgg"), (1, 28, 28))
    huge = targets.Target((1, 28, 28), lambda: nn.Linear(2**20, 2**20))
    monkeypatch.setitem(targets.TARGETS, "cnn", huge)
    with pytest.raises(
        RecipeError, match=r"1 rows of 41 qubits need .* GiB; raise student.generator.chunk or choose a"
    ):
        check(GeneratorConfig(blocks=2), (1, 28, 28))
    with pytest.raises(RecipeError, match="no small network for images of"):
        image_student.small("vgg")


@pytest.mark.parametrize("channels", [1, 8])
def test_convolutions_are_laid_out_for_speed_and_say_the_same(channels):
    weight, images = torch.randn(4, channels, 5, 5), torch.randn(2, channels, 12, 12)
    laid = image_student.channels_last(weight)
    assert_array_equal(laid, weight)
    seen = nn.functional.conv2d(images, laid)
    assert seen.stride(1) == 1  # channels innermost, or pooling is slow again
    assert_allclose(seen, nn.functional.conv2d(images, weight), atol=1e-5)
