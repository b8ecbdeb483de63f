"""A small corpus made up on the spot: opinions on four things, for tests and first runs without a download.

Each sentence is four remarks. The judgement in one agrees with the class with probability `AGREE`; with probability
`SHARED` every domain uses that word, else it is its domain's own. Some of those mean the opposite elsewhere ("light" is
good of a phone and bad of a film), so what is learned in one domain can mislead another.
"""

import numpy as np

from data.corpus import Corpus, tidy
from data.streams import stream

REMARKS = 4
AGREE = 0.87  # so that a linear model on TF-IDF learns it well but not perfectly
SHARED = 0.6
ROWS = 600
CLASSES = ("negative", "positive")

BAD = "awful bland careless clumsy dismal dreary faulty feeble grim poor shabby sloppy tired ugly weak"
GOOD = "brilliant careful charming clever delightful elegant fine fresh great honest lovely neat smooth solid warm"

# domain: what is talked about, what is bad about it, what is good about it
DOMAINS = {
    "films": (
        "plot cast script ending soundtrack camera scene hero dialogue pace",
        "light predictable wooden overlong hollow noisy",
        "cold gripping witty haunting tense quiet",
    ),
    "hotels": (
        "room lobby bed breakfast pool view staff shower balcony lift",
        "cold damp cramped noisy dusty smelly",
        "quiet spacious central sunny restful spotless",
    ),
    "meals": (
        "soup bread sauce steak salad curry dessert coffee menu portion",
        "burnt greasy stale soggy salty lukewarm",
        "crisp juicy spicy tender light fragrant",
    ),
    "phones": (
        "screen battery speaker charger keyboard button case signal display lens",
        "laggy brittle dim quiet heavy overheating",
        "light sharp durable responsive slim sturdy",
    ),
}

VERBS = ("was", "is", "seemed", "looked", "felt", "became")
JOINS = ("and", "but", "while", "though", "then", "yet")


def generate(seed: int) -> Corpus:
    """About 600 sentences in 4 domains and 2 balanced classes; equal seeds give equal sentences."""
    rng = stream(seed, "synthetic")
    domains = [row % len(DOMAINS) for row in range(ROWS)]
    labels = [row // len(DOMAINS) % 2 for row in range(ROWS)]
    words = [[line.split() for line in lines] for lines in DOMAINS.values()]
    shared = [BAD.split(), GOOD.split()]
    texts = [sentence(rng, words[d][0], words[d][1:], shared, label) for d, label in zip(domains, labels, strict=True)]
    return tidy("synthetic", texts, [CLASSES[label] for label in labels], domains, list(DOMAINS))


def sentence(
    rng: np.random.Generator, things: list[str], own: list[list[str]], shared: list[list[str]], label: int
) -> str:
    """Four remarks on things of the domain; own and shared are (bad words, good words)."""
    remarks = []
    for agrees, by_all in zip(rng.random(REMARKS) < AGREE, rng.random(REMARKS) < SHARED, strict=True):
        words = (shared if by_all else own)[label if agrees else 1 - label]
        thing, verb, word, join = (choices[rng.integers(len(choices))] for choices in (things, VERBS, words, JOINS))
        remarks += [join, "the", thing, verb, word]
    return " ".join(remarks[1:])
