"""The encoder a recipe names: the first stage, from texts to vectors."""

from collections.abc import Callable

from data.scaled import Scaled
from data.stages import Stage
from recipes.schema import FeaturesConfig


def encoder(config: FeaturesConfig) -> Stage:
    """The stage that a recipe's features begin with."""
    return ENCODERS[config.encoder](config)


def minilm(config: FeaturesConfig) -> Stage:
    """Frozen sentence vectors; 83.5 MB of weights, fetched once."""
    from teacher.frozen import MiniLm

    return MiniLm()


def tfidf(config: FeaturesConfig) -> Stage:
    """Hashed words weighted by how rare they are over all clients; no download."""
    from data.features import TfIdf

    return TfIdf(config.buckets)


def hidden(config: FeaturesConfig) -> Stage:
    """A middle layer of the untuned LLM; its weights are fetched once."""
    from teacher.hidden import Hidden

    return Scaled(Hidden(config.model, config.layer))


def kmers(config: FeaturesConfig) -> Stage:
    """Counts of short words of DNA; no download."""
    from data.kmers import Kmers

    return Scaled(Kmers(config.k, config.stride))


ENCODERS: dict[str, Callable[[FeaturesConfig], Stage]] = {
    "minilm": minilm,
    "tfidf": tfidf,
    "kmers": kmers,
    "hidden": hidden,
}
