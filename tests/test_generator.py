"""The generator against the authors' counts, Qiskit's state vectors and PyTorch's own layers."""

import json
from itertools import pairwise
from math import pi
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from qiskit.quantum_info import Statevector
from torch import nn

from data.streams import stream
from quantum.generator import SOURCES, Generator
from quantum.ring import ring
from quantum.targets import GREY, TARGETS, weights_of
from recipes.schema import GeneratorConfig, Grey, Network

GOLDEN = json.loads((Path(__file__).parent / "golden" / "qfed.json").read_text())
DRAWS = np.random.default_rng(0)
PAPER = {
    "cnn": GeneratorConfig(),
    "vgg": GeneratorConfig(target="vgg", blocks=38, widths=(40, 200, 40)),
}


def tensors(arrays):
    return {name: torch.from_numpy(array).requires_grad_() for name, array in arrays.items()}


def by_hand(config, most, arrays):
    """The weights as the paper says, from Qiskit's probabilities and a plain stack of linear layers."""
    n, states = max(2, (-(-most // config.chunk) - 1).bit_length()), -(-most // config.chunk)
    ansatz = ring(n, config.blocks)
    bound = ansatz.circuit.assign_parameters(dict(zip(ansatz.weights, arrays["beta"].tolist(), strict=True)))
    p = Statevector(bound).probabilities()[:states]
    x = (0.8 * np.tanh(0.1 * 2 ** (n - 1) * p)) ** 0.3
    bits = [[2 * (i >> q & 1) - 1 for q in range(n)] for i in range(states)]
    layers, widths, gamma = [], (n + 1, *config.widths, config.chunk), arrays["gamma"]
    for width, wider in pairwise(widths):
        layer = nn.Linear(width, wider)
        W, b, gamma = np.split(gamma, [width * wider, (width + 1) * wider])
        layer.weight.data, layer.bias.data = torch.tensor(W).view(wider, width), torch.tensor(b)
        layers += [layer, {"none": nn.Identity(), "tanh": nn.Tanh(), "relu": nn.ReLU()}[config.activation]]
    rows = torch.tensor(np.column_stack([bits, config.gain * (x - x.mean())]), dtype=torch.float32)
    out = nn.Sequential(*layers[:-1])(rows).detach().numpy().ravel()[:most]
    return out - out.mean()


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_instances_have_the_papers_counts(name):
    golden, generator = GOLDEN[name], Generator(PAPER[name], weights_of(name))
    assert (generator.most, generator.qubits) == (golden["target"], golden["qubits"])
    assert generator.sizes == {"beta": golden["beta"], "gamma": golden["gamma"]}
    assert sum(generator.sizes.values()) == golden["total"]
    saved = 100 * (1 - golden["total"] / golden["target"])
    assert saved == pytest.approx(golden["reduction_percent"], abs=golden["tolerance_percent"])


def test_larger_chunks_take_fewer_qubits():
    golden = GOLDEN["chunks"]
    assert weights_of("vgg") == golden["target"]
    for chunk, qubits in golden["qubits"].items():
        assert Generator(GeneratorConfig(target="vgg", chunk=int(chunk)), weights_of("vgg")).qubits == qubits


@settings(max_examples=12, derandomize=True)
@given(
    most=st.integers(5, 60),
    chunk=st.integers(1, 7),
    widths=st.lists(st.integers(1, 5), max_size=3).map(tuple),
    activation=st.sampled_from(["none", "tanh", "relu"]),
    seed=st.integers(0, 99),
)
def test_the_weights_are_those_of_qiskits_probabilities_and_pytorchs_layers(most, chunk, widths, activation, seed):
    config = GeneratorConfig(chunk=chunk, blocks=2, widths=widths, activation=activation)
    generator = Generator(config, most)
    arrays = generator.initial(seed)
    assert {name: array.shape for name, array in arrays.items()} == {n: (s,) for n, s in generator.sizes.items()}
    with torch.no_grad():
        found = generator.weights(tensors(arrays)).numpy()
    assert found.shape == (most,)
    assert_allclose(found, by_hand(config, most, arrays), atol=2e-5)


@pytest.mark.parametrize("activation", ["none", "tanh"])
def test_gradients_of_both_kinds_of_numbers_are_slopes(activation):
    generator = Generator(GeneratorConfig(blocks=2, activation=activation), 12)
    arrays, mix = generator.initial(3), torch.linspace(-1, 1, 12)
    ours = tensors(arrays)
    (generator.weights(ours) @ mix).backward()

    def at(name, place, step):
        moved = {key: array.astype(np.float64) for key, array in arrays.items()}
        moved[name][place] += step
        return float(by_hand(generator.config, 12, {k: v.astype(np.float32) for k, v in moved.items()}) @ mix.numpy())

    for name in ("beta", "gamma"):
        for place in range(0, generator.sizes[name], 7):
            slope = (at(name, place, 5e-3) - at(name, place, -5e-3)) / 1e-2
            assert float(ours[name].grad[place]) == pytest.approx(slope, abs=3e-3)


def test_both_engines_write_the_same_weights_and_slopes():
    found = []
    for kernel in ("torch", "compiled"):
        generator = Generator(GeneratorConfig(blocks=3), 200, kernel)
        arrays = tensors(generator.initial(0))
        weights = generator.weights(arrays)
        (weights @ torch.linspace(-1, 1, 200)).backward()
        found.append((weights.detach(), arrays["beta"].grad, arrays["gamma"].grad))
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, atol=1e-4)


@settings(max_examples=10)
@given(place=st.integers(0, 35), seed=st.integers(0, 9))
def test_an_angle_turned_by_its_period_writes_the_same_weights(place, seed):
    generator = Generator(GeneratorConfig(blocks=2), 8)
    arrays = generator.initial(seed)
    before = by_hand(generator.config, 8, arrays)
    arrays["beta"][place] += generator.source.engine.ansatz.periods[place]
    assert_allclose(by_hand(generator.config, 8, arrays), before, atol=1e-4)
    assert {round(period / pi) for period in generator.source.engine.ansatz.periods} == {2, 4}


@pytest.mark.parametrize("by", SOURCES)
@pytest.mark.parametrize(("target", "blocks"), [("cnn", 16), ("digits", 8)])
def test_every_control_has_the_circuits_count_within_five_percent_and_learns_all_of_it(by, target, blocks):
    circuit, control = (
        Generator(GeneratorConfig(by=one, target=target, blocks=blocks), weights_of(target)) for one in ("circuit", by)
    )
    assert sum(control.sizes.values()) == pytest.approx(sum(circuit.sizes.values()), rel=0.05)
    if by == "circuit":
        return
    arrays = tensors(control.initial(0))
    control.weights(arrays).square().sum().backward()
    assert (arrays["beta"].grad != 0).float().mean() > 0.95
    assert float(control.source.features(arrays["beta"]).detach().std()) == pytest.approx(0.1, rel=0.5)


@pytest.mark.parametrize("by", [by for by in SOURCES if by != "circuit"])
@pytest.mark.parametrize(
    ("target", "chunk", "keys"),
    [
        *(("vgg", chunk, {"widths": (40, 20)}) for chunk in (1000, 2000, 2229)),  # as recipes/qfed-batched.yaml
        ("digits", 100, {"blocks": 8}),
    ],
)
def test_where_a_state_writes_many_weights_a_control_has_the_circuits_count_too_and_no_dead_number(
    by, target, chunk, keys
):
    circuit, control = (
        Generator(GeneratorConfig(by=one, target=target, chunk=chunk, **keys), weights_of(target))
        for one in ("circuit", by)
    )
    assert control.states < control.sizes["beta"]
    assert sum(control.sizes.values()) == pytest.approx(sum(circuit.sizes.values()), rel=0.05)
    arrays = tensors(control.initial(0))
    (control.weights(arrays) @ torch.from_numpy(DRAWS.normal(size=control.most)).float()).backward()
    assert (arrays["beta"].grad != 0).all()
    assert float(control.source.features(arrays["beta"]).detach().std()) == pytest.approx(0.1, rel=0.5)


@pytest.mark.parametrize(("latents", "states"), [(96, 96), (96, 500)])
def test_a_hash_of_no_fewer_states_than_latents_reads_one_latent_a_state(latents, states):
    hashed = Generator(GeneratorConfig(by="hash", blocks=2), states).source
    hashed.parameters = latents
    places = stream(0, "hash").integers(latents, size=states)
    beta = torch.arange(latents, dtype=torch.float32)
    assert_array_equal(hashed.features(beta), places.astype(np.float32))


@pytest.mark.parametrize("by", SOURCES)
def test_a_smaller_target_takes_the_first_weights_of_the_largest(by):
    config = GeneratorConfig(by=by, targets=("cnn", "cnn-6"))
    one = Generator(config, weights_of("cnn"))
    assert one.most == max(weights_of(name) for name in config.named())


def test_a_probability_of_zero_has_a_finite_slope():
    generator = Generator(GeneratorConfig(blocks=2), 16)
    arrays = {"beta": torch.zeros(48, requires_grad=True), "gamma": tensors(generator.initial(0))["gamma"]}
    generator.weights(arrays).square().sum().backward()  # β = 0 leaves |0000⟩
    assert torch.isfinite(arrays["beta"].grad).all()


def test_a_recipe_may_name_every_target_and_no_other_network():
    assert set(get_args(Network)) == TARGETS.keys()
    grey = {name for name, target in TARGETS.items() if target.shape == GREY}
    assert set(get_args(Grey)) == grey


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_tells_ten_classes_apart_and_computes_with_weights_that_are_given(name):
    from torch.func import functional_call

    from quantum.targets import shapes

    target = TARGETS[name]
    network, images = target.build(), torch.rand(2, *target.shape)
    assert sum(np.prod(shape) for shape in shapes(network, name).values()) == weights_of(name)
    given_weights = {key: value.detach().clone() for key, value in network.named_parameters()}
    with torch.device("meta"):
        empty = target.build()
    with torch.no_grad():
        logits = functional_call(empty, given_weights, (images,))
        assert logits.shape == (2, 10)
        assert_allclose(logits, network(images), atol=1e-6)
