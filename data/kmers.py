"""DNA as words of k letters: counted, for a student; spaced apart, for a teacher that reads words."""

import re

import numpy as np
from numpy.typing import NDArray

from data.corpus import DataError
from data.stages import Arrays

LETTERS = "ACGT"  # and N, a letter that the sequencer could not tell
FOREIGN = re.compile("[^ACGTNacgtn]")


class Kmers:
    """Sequences → counts of all 4^k words of k letters, each scaled to mean 0 and variance 1 over all training rows.

    The vocabulary is fixed, so only sums are exchanged: n, Σx and Σx² over the clients give μ = Σx/n and
    σ² = Σx²/n − μ². Sums of counts are whole numbers, so they are exact, whoever holds which row.
    """

    name = "encoder"
    exchanges = 1

    def __init__(self, k: int, stride: int) -> None:
        self.k, self.stride, self.size = k, stride, len(LETTERS) ** k

    def initial(self, seed: int) -> Arrays:
        """Nothing: the first merge makes mean and spread."""
        return {}

    def local(self, arrays: Arrays, rows: list[str], labels: NDArray[np.int64]) -> Arrays:
        """n, Σx and Σx² of its training rows."""
        x = self.counts(rows)
        return {"count": np.array([float(len(x))]), "sum": x.sum(axis=0), "square": (x**2).sum(axis=0)}

    def merge(self, arrays: Arrays, answers: list[Arrays], examples: list[int]) -> Arrays:
        """Mean and standard deviation; a word that is equally often in every row has spread 1, so it becomes 0."""
        n, total, square = (np.sum([answer[key] for answer in answers], axis=0) for key in ("count", "sum", "square"))
        variance = (n * square - total**2) / n**2  # whole numbers above, so nothing cancels
        return {"mean": total / n, "scale": np.sqrt(np.where(variance > 0, variance, 1))}

    def apply(self, arrays: Arrays, rows: list[str]) -> NDArray[np.float64]:
        """(B, 4^k) scaled counts."""
        return np.asarray((self.counts(rows) - arrays["mean"]) / arrays["scale"], dtype=np.float64)

    def counts(self, rows: list[str]) -> NDArray[np.float64]:
        """(B, 4^k): how often each word occurs, in the order AA…A, AA…C to TT…T; a word that holds an N is none."""
        x = np.zeros((len(rows), self.size))
        for number, row in enumerate(rows):
            refuse_foreign(shortened(row), row)
            x[number] = np.bincount(self.words(row), minlength=self.size)
        return x

    def words(self, row: str) -> NDArray[np.int64]:
        """The numbers of a sequence's words, letters read as digits to the base 4."""
        digits = DIGITS[np.frombuffer(row.encode("ascii"), dtype=np.uint8)]
        if len(digits) < self.k:
            return np.empty(0, dtype=np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(digits, self.k)[:: self.stride]
        known = windows[(windows >= 0).all(axis=1)]
        return np.asarray(known @ len(LETTERS) ** np.arange(self.k)[::-1], dtype=np.int64)


def spaced_kmers(text: str, k: int, stride: int) -> str:
    """A sequence as words of k letters, one every `stride` letters; one shorter than k is a word by itself."""
    return " ".join(text[start : start + k] for start in range(0, max(1, len(text) - k + 1), stride))


def refuse_foreign(where: str, text: str) -> None:
    """A sequence is letters A, C, G, T and N."""
    if found := FOREIGN.search(text):
        letter = f"letter {found.start() + 1} is {found.group()!r}"
        raise DataError(f"{where}: {letter}; DNA is A, C, G, T and N: correct the row or remove it")


def shortened(row: str) -> str:
    """Enough of a sequence to find it by."""
    return repr(row if len(row) <= 40 else f"{row[:40]}…")


def _digits() -> NDArray[np.int64]:
    """Byte → 0 to 3, or −1 for N."""
    table = np.full(256, -1, dtype=np.int64)
    for digit, letter in enumerate(LETTERS):
        table[[ord(letter), ord(letter.lower())]] = digit
    return table


DIGITS = _digits()
