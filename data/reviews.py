"""Sentences that people rated from -4 (extremely negative) to 4: four domains, so four natural, unlike clients.

From Hutto & Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text", ICWSM 2014;
the authors publish the ratings inside their package vaderSentiment (MIT). A line is `id<TAB>mean rating<TAB>text`.
"""

import tarfile
from dataclasses import replace
from html import unescape

from data.assets import REVIEWS, extract
from data.corpus import Corpus, tidy

ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
FILES = {
    "movies": "movieReviewSnippets",
    "amazon": "amazonReviewSnippets",
    "nyt": "nytEditorialSnippets",
    "tweets": "tweets",
}
CLEAR = 0.5  # a mean rating nearer to 0 than this is too close to neutral to be a label


def read() -> Corpus:
    """The class is the sign of the mean rating."""
    texts, ratings, domains = rated()
    labels = ["positive" if rating > 0 else "negative" for rating in ratings]
    corpus = tidy("reviews", texts, labels, domains, list(FILES))
    return replace(corpus, source=f"{REVIEWS.file} sha256 {REVIEWS.sha256[:12]}")


def rated() -> tuple[list[str], list[float], list[int]]:
    """Text, mean rating and domain of every sentence with |rating| ≥ 0.5, duplicates and all."""
    texts, ratings, domains = [], [], []
    for domain, content in enumerate(contents()):
        for line in filter(None, content.split("\n")):
            _, rating, text = line.split("\t")
            if abs(float(rating)) >= CLEAR:
                texts.append(unescape(text))  # tweets were stored as HTML: &amp; is &
                ratings.append(float(rating))
                domains.append(domain)
    return texts, ratings, domains


def contents() -> list[str]:
    """The rating file of each domain."""
    wanted = [f"hutto_ICWSM_2014/{name}_GroundTruth.txt" for name in FILES.values()]
    with tarfile.open(extract(REVIEWS, ARCHIVE)) as tar:
        found = {item.name: file.read() for item in tar if (file := tar.extractfile(item)) is not None}
    return [found[name].decode("utf-8") for name in wanted]
