"""What QD-LLM's student is measured against: classical models of the same rows, and a quantum one that is not trained.

Each is fitted on training texts with their labels, columns and soft labels, and then answers texts and columns it has
not seen. B rows, D columns of the embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from bench.inside import Inside
from bench.small_berts import OBJECTIVES, answers, taught
from data.streams import stream
from quantum.dressed import Dressed

Floats = NDArray[np.float64]

PENALTIES = np.logspace(-4, 4, 9)  # C of logistic regressions
EPOCHS, BATCH, RATE = 12, 64, 1e-3  # of the networks here, as the calibration had them
WORDS, TOKENS, WIDTH = 8000, 60, 64  # of TextRCNN: vocabulary, words of a text, size of a word and of a direction


@dataclass(frozen=True)
class Task:
    """One corpus at one seed: training texts, what is known of them, and the student whose size is to be met."""

    texts: list[str]
    x: Floats  # (B, D)
    labels: NDArray[np.int64]
    soft: Floats  # (B, K), the teacher's at the temperature
    temperature: float
    inside: Inside
    n_classes: int
    student: Dressed
    seed: int


@dataclass(frozen=True)
class Fitted:
    """A trained model, and how many of its numbers were trained."""

    answer: Callable[[Sequence[str], Floats], Floats]  # texts and their columns, which it may both read → (B, K)
    parameters: int
    encoded: bool = False  # whether it reads columns, so that its answer to a text begins with the encoder


def words(task: Task) -> Fitted:
    """TF-IDF of words and word pairs, and logistic regression."""
    made = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    fitted = penalised(made.fit_transform(task.texts), task.labels)
    return Fitted(lambda texts, _: fitted.predict_proba(made.transform(texts)), size(fitted))


def linear(task: Task) -> Fitted:
    """Logistic regression on the embedding."""
    fitted = penalised(task.x, task.labels)
    return Fitted(lambda _, x: fitted.predict_proba(x), size(fitted), encoded=True)


def penalised(x: Floats | csr_matrix, labels: NDArray[np.int64]) -> LogisticRegression:
    """Its penalty chosen by five-fold cross-validation: scikit-learn's own, C = 1, costs 3.3 points of stega."""
    chosen = GridSearchCV(LogisticRegression(max_iter=1000), {"C": PENALTIES}, scoring="neg_log_loss", cv=5)
    return chosen.fit(x, labels).best_estimator_


def size(fitted: LogisticRegression) -> int:
    """Of weights and constants."""
    return int(fitted.coef_.size + fitted.intercept_.size)


def mlp(task: Task) -> Fitted:
    """One hidden layer on the embedding, as wide as the student's number of parameters allows."""
    d, k = task.x.shape[1], task.n_classes
    hidden = max(1, round((task.student.parameters - k) / (d + 1 + k)))
    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        network = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, k))
    return replace(trained(network, lambda _, x: torch.from_numpy(x).float(), task), encoded=True)


def frozen_circuit(task: Task) -> Fitted:
    """In the manner of BERT-QTC (Yang et al. 2022, arXiv:2203.03550): logistic regression on a random circuit's ⟨Z⟩.

    There a circuit with random angles is a convolution over a frozen BERT; here it is QD-LLM's, with a random dense
    layer before it: what training the two gains is the distance to the student. Each ⟨Z⟩ is brought to mean 0 and
    variance 1 first, as all of them hardly move before anything is trained.
    """
    arrays, one = task.student.initial(task.seed), task.student

    def read(x: Floats) -> Floats:
        z = torch.from_numpy(one.angles(arrays, x))
        with torch.no_grad():
            return one.engine.expectations(z, torch.from_numpy(arrays["theta"])).double().numpy()

    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(read(task.x), task.labels)
    return Fitted(lambda _, x: fitted.predict_proba(read(x)), size(fitted[-1]), encoded=True)


def small_bert(objective: str, task: Task) -> Fitted:
    """One of the published objectives, each a function of bench/small_berts.py."""
    model = taught(OBJECTIVES[objective], task.inside, task.texts, task.labels, task.soft, task.temperature, task.seed)
    return Fitted(lambda texts, _: answers(model, task.inside, texts), model.parameters_used)


class TextRcnn(nn.Module):
    """Lai et al. 2015 (AAAI): a word between what stands left and right of it, tanh, the maximum over the text."""

    def __init__(self, words: int, n_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, WIDTH, padding_idx=0)
        self.context = nn.LSTM(WIDTH, WIDTH, bidirectional=True, batch_first=True)
        self.latent, self.out = nn.Linear(3 * WIDTH, WIDTH), nn.Linear(WIDTH, n_classes)

    def forward(self, tokens_BS: Tensor) -> Tensor:
        """(B, K)"""
        embedded = self.embedding(tokens_BS)
        both, _ = self.context(embedded)
        latent = self.latent(torch.cat([both[..., :WIDTH], embedded, both[..., WIDTH:]], 2)).tanh()
        logits: Tensor = self.out(latent.masked_fill((tokens_BS == 0)[..., None], -1.0).amax(1))
        return logits


def text_rcnn(task: Task) -> Fitted:
    """TextRCNN with word vectors of its own."""
    counts: dict[str, int] = {}
    for text in task.texts:
        for word in text.lower().split():
            counts[word] = counts.get(word, 0) + 1
    known = sorted(counts, key=lambda word: (-counts[word], word))[: WORDS - 2]
    number = {word: i for i, word in enumerate(known, 2)}  # 0 is padding, 1 any other word

    def tokens(texts: Sequence[str], _: Floats) -> Tensor:
        found = np.zeros((len(texts), TOKENS), np.int64)
        for row, text in enumerate(texts):
            chosen = [number.get(word, 1) for word in text.lower().split()[:TOKENS]]
            found[row, : len(chosen)] = chosen
        return torch.from_numpy(found)

    with torch.random.fork_rng():
        torch.manual_seed(task.seed)
        network = TextRcnn(len(known) + 2, task.n_classes)
    return trained(network, tokens, task)


def trained(network: nn.Module, read: Callable[[Sequence[str], Floats], Tensor], task: Task) -> Fitted:
    """Cross-entropy, Adam, a fixed number of epochs."""
    x = read(task.texts, task.x)
    adam, draws = torch.optim.Adam(network.parameters(), lr=RATE), stream(task.seed, "batches")
    labels = torch.from_numpy(task.labels)
    for _ in range(EPOCHS):
        for batch in torch.from_numpy(draws.permutation(len(x))).split(BATCH):  # type: ignore[no-untyped-call]
            adam.zero_grad()
            nn.functional.cross_entropy(network(x[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            adam.step()

    def answer(texts: Sequence[str], columns: Floats) -> Floats:
        with torch.no_grad():
            parts = read(texts, columns).split(512)  # type: ignore[no-untyped-call]
            return torch.cat([network(part).softmax(1) for part in parts]).double().numpy()

    return Fitted(answer, sum(p.numel() for p in network.parameters()))


RIVALS: dict[str, Callable[[Task], Fitted]] = {
    "TF-IDF + logistic regression": words,
    "logistic regression on the embedding": linear,
    "MLP of the student's size": mlp,
    "untrained circuit + logistic regression (BERT-QTC style)": frozen_circuit,
    "TextRCNN": text_rcnn,
    **{f"small BERT, as {name}": partial(small_bert, name) for name in OBJECTIVES},
}
NOT_RUN = {
    "HiTIN": "it classifies into a tree of labels, and these sets have flat ones",
    "LSFLS (Wang et al. 2023)": "it fine-tunes a pretrained language model to find hidden messages from about ten "
    "labelled texts, which is another task; for two of the three sets it has no meaning",
}
