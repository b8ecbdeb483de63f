"""Small BERT-like students of an LLM, after four published objectives, built here: nothing is downloaded for them.

Each is a transformer encoder of two layers over the LLM's own tokens and frozen token embeddings, and is taught by the
LLM's soft labels and by what it computes inside (bench/inside.py). Departures from all four papers: the student does
not start from a pretrained one, the teacher is causal, and its states are normalised, because an LLM's first token is a
hundred times as long as the others.
B texts, S tokens, D numbers of the LLM's token, W of the student's, M layers, H heads, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.inside import LAYERS, MOST, Inside
from data.streams import stream
from teacher.tokens import batches, padded

WIDTH, HEADS = 128, 4  # W, H
EPOCHS, BATCH, RATE = 8, 32, 1e-3
AT_ONCE = 128  # texts that are answered together
ALPHA, BETA = 0.5, 10.0  # of PKD: share of the soft labels, weight of the layers


@dataclass(frozen=True)
class Told:
    """What a batch is taught with."""

    labels: Tensor  # (B,)
    soft: Tensor  # (B, K), the teacher's at the temperature
    temperature: float
    states: Tensor  # (M, B, S, D), the teacher's, each of mean 0 and variance 1
    attention: Tensor  # (M, B, S, S), the teacher's, a mean over its heads
    mask: Tensor  # (B, S), 1 on real tokens


@dataclass(frozen=True)
class Seen:
    """What the student makes of a batch."""

    logits: Tensor  # (B, K)
    states: Tensor  # (M, B, S, D), its own mapped to the teacher's width; the map is trained, and left behind
    scores: Tensor  # (M, B, S, S) before the softmax, a mean over its heads


def tiny_bert(seen: Seen, told: Told) -> Tensor:
    """TinyBERT (Jiao et al. 2019, arXiv:1909.10351): Σ_m [MSE(A_m, Â_m) + MSE(H_m·W, Ĥ_m)] − Σ_k t_k·ln s_k.

    There attention is matched before the softmax, here after it: a mean over nine heads has no scores. A causal teacher
    attends to j ≤ i, so the student's scores are softmaxed over these.
    """
    pairs_BSS = (told.mask[:, None, :] * told.mask[:, :, None]).tril()
    after_MBSS = seen.scores.masked_fill(pairs_BSS == 0, -1e9).softmax(-1)
    attention = ((after_MBSS - told.attention).square() * pairs_BSS).sum((1, 2, 3)) / pairs_BSS.sum()
    states = over_tokens((seen.states - told.states).square().mean(-1), told.mask)
    return attention.sum() + states.sum() + soft_cross_entropy(seen, told)


def mini_llm(seen: Seen, told: Told) -> Tensor:
    """MiniLLM (Gu et al. 2023, arXiv:2306.08543): the reverse T²·KL(s‖t) = T²·Σ_k s_k·ln(s_k/t_k).

    There answers are sequences, and its gradient is estimated on sampled ones; one of K classes is summed over.
    """
    log_s = (seen.logits / told.temperature).log_softmax(1)
    return (log_s.exp() * (log_s - told.soft.clamp(min=1e-12).log())).sum(1).mean() * told.temperature**2


def distil_bert(seen: Seen, told: Told) -> Tensor:
    """DistilBERT (Sanh et al. 2019, arXiv:1910.01108): CE − T²·Σ_k t_k·ln s_k + (1 − cos(H_M·W, Ĥ_M)).

    There the first term is masked language modelling; in a classifier it is that of the labels.
    """
    apart = 1 - functional.cosine_similarity(seen.states[-1], told.states[-1], dim=-1)
    cosine = over_tokens(apart[None], told.mask).sum()
    labels = functional.cross_entropy(seen.logits, told.labels)
    return labels + told.temperature**2 * soft_cross_entropy(seen, told) + cosine


def pkd(seen: Seen, told: Told) -> Tensor:
    """Patient knowledge distillation (Sun et al., EMNLP 2019): (1−α)·CE − α·Σ_k t_k·ln s_k + β·PT.

    PT = Σ_m ‖h_m/‖h_m‖ − ĥ_m/‖ĥ_m‖‖² of a state that stands for the text: there of [CLS], here the student's mean of
    all tokens and the teacher's of the last, which alone has read the others.
    """
    ends = told.mask.sum(1).long() - 1
    theirs = told.states[:, torch.arange(len(ends)), ends]
    ours = (seen.states * told.mask[..., None]).sum(2) / told.mask.sum(1)[:, None]
    apart = (functional.normalize(ours, dim=-1) - functional.normalize(theirs, dim=-1)).square().sum(-1)
    labels = functional.cross_entropy(seen.logits, told.labels)
    return (1 - ALPHA) * labels + ALPHA * soft_cross_entropy(seen, told) + BETA * apart.mean(1).sum()


OBJECTIVES: dict[str, Callable[[Seen, Told], Tensor]] = {
    "TinyBERT": tiny_bert,
    "MiniLLM": mini_llm,
    "DistilBERT": distil_bert,
    "PKD": pkd,
}


def soft_cross_entropy(seen: Seen, told: Told) -> Tensor:
    """−Σ_k t_k·ln s_k, s the student's softmax(z/T)."""
    return -(told.soft * (seen.logits / told.temperature).log_softmax(1)).sum(1).mean()


def over_tokens(values_MBS: Tensor, mask_BS: Tensor) -> Tensor:
    """(M,) means over the real tokens."""
    return (values_MBS * mask_BS).sum((1, 2)) / mask_BS.sum()


class Layer(nn.Module):
    """h + attention(norm(h)), then h + two dense layers of norm(h)."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.looks, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.dense = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, h_BSW: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, W), and scores (B, S, S), a mean over the heads."""
        parts = self.looks(self.before(h_BSW)).chunk(3, dim=2)
        q, k, v = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5
        looked = scores.masked_fill(mask_BS[:, None, None] == 0, -1e9).softmax(-1) @ v
        h_BSW = h_BSW + self.out(looked.transpose(1, 2).flatten(2))
        return h_BSW + self.dense(self.between(h_BSW)), scores.mean(1)


class SmallBert(nn.Module):
    """Frozen embedding, normalised → dense D→W, places → M layers → mean over the tokens → dense W→K."""

    def __init__(self, embedding_VD: Tensor, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("embedding_VD", embedding_VD, persistent=False)
        width = embedding_VD.shape[1]
        self.enter, self.place = nn.Linear(width, WIDTH), nn.Embedding(MOST, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm, self.leave = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, n_classes)
        self.match = nn.Linear(WIDTH, width, bias=False)

    @property
    def parameters_used(self) -> int:
        """Trained numbers that an answer depends on; the embedding is the LLM's, `match` serves training alone."""
        return sum(p.numel() for p in self.parameters()) - self.match.weight.numel()

    def forward(self, ids_BS: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, K) logits, (M, B, S, W) states, (M, B, S, S) scores."""
        embedded = functional.embedding(ids_BS, self.get_buffer("embedding_VD"))
        embedded = functional.layer_norm(embedded, embedded.shape[-1:])
        h = self.enter(embedded) + self.place.weight[: ids_BS.shape[1]]
        states, scores = [], []
        for layer in self.layers:
            h, looked = layer(h, mask_BS)
            states.append(h)
            scores.append(looked)
        pooled = (self.norm(h) * mask_BS[..., None]).sum(1) / mask_BS.sum(1, keepdim=True)
        return self.leave(pooled), torch.stack(states), torch.stack(scores)


def taught(
    objective: Callable[[Seen, Told], Tensor],
    inside: Inside,
    texts: Sequence[str],
    labels: NDArray[np.int64],
    soft: NDArray[np.float64],
    temperature: float,
    seed: int,
) -> SmallBert:
    """Adam for a fixed number of epochs; what the LLM says of the texts is known already."""
    tokens, n_classes = inside.tokens(texts), soft.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SmallBert(inside.embedding_VD, n_classes)
    adam, draws = torch.optim.Adam(model.parameters(), lr=RATE), stream(seed, "batches")
    y, t = torch.from_numpy(labels), torch.from_numpy(soft).float()
    for _ in range(EPOCHS):
        for batch in np.array_split(draws.permutation(len(texts)), -(-len(texts) // BATCH)):
            ids, mask = padded(tokens, batch.tolist())
            told = Told(
                y[batch], t[batch], temperature, *inside.of([texts[row] for row in batch], ids.shape[1]), mask.float()
            )
            adam.zero_grad()
            logits, states, scores = model(ids, told.mask)
            objective(Seen(logits, model.match(states), scores), told).backward()  # type: ignore[no-untyped-call]
            adam.step()
    return model


def answers(model: SmallBert, inside: Inside, texts: Sequence[str]) -> NDArray[np.float64]:
    """(B, K) probabilities, from the texts on."""
    tokens = inside.tokens(texts)
    found = np.zeros((len(texts), model.leave.out_features))
    for rows in batches(tokens, AT_ONCE):
        ids, mask = padded(tokens, rows)
        with torch.inference_mode():
            found[rows] = model(ids, mask.float())[0].double().softmax(1).numpy()
    return found
