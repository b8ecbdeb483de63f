"""Random numbers: every purpose has a stream of its own, so that no draw repeats or shifts another."""

import numpy as np

PURPOSES = {  # above 10 000, the most rounds: the draws of round r are seeded with (seed, r)
    "synthetic": 10_001,
    "reference": 10_002,
    "partition": 10_003,
    "share": 10_004,
    "reduction": 10_005,
    "student": 10_006,
    "twin": 10_007,
    "noop": 10_008,
    "visit": 10_009,
    "shots": 10_010,
    "search": 10_011,
    "batches": 10_012,
    "hash": 10_013,
    "public": 10_016,
    "adapter": 10_020,
    "tuning": 10_021,
    "pool": 10_022,
}


def stream(seed: int, purpose: str, *members: int) -> np.random.Generator:
    """The numbers of one purpose under a recipe's seed, or of one member of it, such as a client, or its round."""
    # member + 1, for NumPy seeds alike with (…, 0) and without it
    return np.random.default_rng((seed, PURPOSES[purpose], *(member + 1 for member in members)))
