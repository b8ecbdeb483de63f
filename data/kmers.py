"""DNA as words of k letters: counted, for a student; spaced apart, for a teacher that reads words."""

import re

import numpy as np
from numpy.typing import NDArray

from data.corpus import DataError
from data.stages import Arrays, Frozen

LETTERS = "ACGT"  # and N, a letter that the sequencer could not tell
FOREIGN = re.compile("[^ACGTNacgtn]")


class Kmers(Frozen):
    """Sequences → counts of all 4^k words of k letters; the vocabulary is fixed."""

    def __init__(self, k: int, stride: int) -> None:
        self.k, self.stride, self.size = k, stride, len(LETTERS) ** k

    def apply(self, arrays: Arrays, rows: list[str]) -> NDArray[np.float64]:
        """(B, 4^k) counts."""
        return self.counts(rows)

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
