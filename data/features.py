"""Two stages whose statistics are plain sums, so one exchange makes them exactly what pooled data would give."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.corpus import DataError
from data.stages import Arrays

WIDEST = 4096  # columns whose second moments a client sends: 134 MB
CLIP = 3.0  # standard deviations


class TfIdf:
    """Texts → tf·idf of hashed words and word pairs, rows of length 1; only document frequencies are exchanged.

    idf_j = ln((1 + n) / (1 + df_j)) + 1 with n training rows in all, df_j of which hold term j (scikit-learn's smooth
    idf). Hashing (Weinberger et al. 2009, arXiv:0902.2206) spares the clients a common vocabulary of their words.
    """

    name = "encoder"
    exchanges = 1

    def __init__(self, buckets: int) -> None:
        self.size = buckets

    def initial(self, seed: int) -> Arrays:
        """Nothing: the first merge makes the frequencies."""
        return {}

    def local(self, arrays: Arrays, rows: list[str], labels: NDArray[np.int64]) -> Arrays:
        """In how many of its training rows each bucket occurs, and how many rows there are."""
        df = np.asarray(self.counts(rows).getnnz(axis=0), dtype=np.float64)
        return {"df": df, "rows": np.array([float(len(rows))])}

    def merge(self, arrays: Arrays, answers: list[Arrays], examples: list[int]) -> Arrays:
        """Sums over the clients."""
        return {key: np.sum([answer[key] for answer in answers], axis=0) for key in ("df", "rows")}

    def apply(self, arrays: Arrays, rows: list[str]) -> NDArray[np.float64]:
        """tf·idf, dense; a text without a word is all zeros."""
        idf = np.log((1 + arrays["rows"]) / (1 + arrays["df"])) + 1
        weighted = self.counts(rows).toarray() * idf
        lengths = np.linalg.norm(weighted, axis=1, keepdims=True)
        return np.asarray(weighted / np.where(lengths > 0, lengths, 1), dtype=np.float64)

    def counts(self, rows: list[str]) -> Any:
        """Sparse term counts (B, buckets)."""
        from sklearn.feature_extraction.text import HashingVectorizer

        hashing = HashingVectorizer(n_features=self.size, ngram_range=(1, 2), alternate_sign=False, norm=None)
        return hashing.transform(rows)


class Pca:
    """Vectors → principal components of the pooled training rows of all clients, one number in [0, 1] each.

    From n, s = Σx and M = Σxxᵀ over all clients: mean μ = s/n, covariance M/n − μμᵀ = VΛVᵀ. A row becomes the scores
    z = Λ^(−1/2) Vᵀ(x − μ), clipped to ±3 and mapped to (z + 3) / 6.
    """

    name = "reduction"
    exchanges = 1

    def __init__(self, size_in: int, size: int) -> None:
        if size_in > WIDEST:
            raise DataError(f"pca exchanges {size_in}² numbers; use {WIDEST} columns or fewer, or reduction: trained")
        if size > size_in:
            raise DataError(f"pca cannot make {size} components of {size_in} columns; use fewer qubits")
        self.size_in = size_in
        self.size = size

    def initial(self, seed: int) -> Arrays:
        """Nothing: the first merge makes the components."""
        return {}

    def local(self, arrays: Arrays, rows: NDArray[np.float64], labels: NDArray[np.int64]) -> Arrays:
        """n, Σx and Σxxᵀ of its training rows."""
        return {"count": np.array([float(len(rows))]), "sum": rows.sum(axis=0), "moment": rows.T @ rows}

    def merge(self, arrays: Arrays, answers: list[Arrays], examples: list[int]) -> Arrays:
        """The leading eigenvectors of the pooled covariance; the largest entry of each is made positive."""
        n, total, moment = (sum(answer[key] for answer in answers) for key in ("count", "sum", "moment"))
        mean = total / n
        values, vectors = np.linalg.eigh(moment / n - np.outer(mean, mean))
        V_DN = vectors[:, ::-1][:, : self.size]
        top = np.maximum(values[::-1][: self.size], 0)
        largest = V_DN[np.abs(V_DN).argmax(axis=0), np.arange(self.size)]
        scale = np.sqrt(np.where(top > 1e-12 * max(top[0], 1e-12), top, 1))  # a direction without spread scores 0
        return {"mean": mean, "components": V_DN * np.sign(largest), "scale": scale}

    def apply(self, arrays: Arrays, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardised scores in [0, 1]; an average row is 0.5 everywhere."""
        z = (rows - arrays["mean"]) @ arrays["components"] / arrays["scale"]
        return np.asarray((np.clip(z, -CLIP, CLIP) + CLIP) / (2 * CLIP), dtype=np.float64)
