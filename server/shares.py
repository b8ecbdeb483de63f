"""Who holds what: rows, domains and classes by client, and how far each would get alone."""

import numpy as np
from rich.table import Table

from data.baselines import logistic_regression, majority
from data.corpus import load
from data.split import Share, deal
from data.stages import named, through
from recipes.schema import Recipe
from teacher.encoders import encoder

NAMED_CLASSES, NAMED_DOMAINS = 6, 2


def alone_of(recipe: Recipe, shares: list[Share]) -> dict[int, float]:
    """Client → test accuracy of logistic regression on its encoded rows alone."""
    stage = encoder(recipe.features)
    shared = stage.initial(recipe.seed)
    if stage.exchanges:
        answers = [stage.local(shared, share.train.texts, share.train.labels) for share in shares]
        shared = stage.merge(shared, answers, [len(share.train) for share in shares])
    shared = named(stage, shared)

    def found(share: Share) -> float:
        x, x_test = (through([stage], shared, rows.texts) for rows in (share.train, share.test))
        return logistic_regression(x, share.train.labels, x_test, share.test.labels)

    return {number: found(share) for number, share in enumerate(shares)}


def shares(recipe: Recipe) -> Table:
    """One row a client; baselines are trained on its training rows and measured on its test rows."""
    corpus = load(recipe.data, recipe.seed)
    dealt = deal(corpus, recipe.data, recipe.clients, recipe.seed)
    alone = {} if corpus.images is not None else alone_of(recipe, dealt.shares)
    table = Table(
        title=f"{recipe.data.corpus} · {recipe.data.partition} partition · seed {recipe.seed}",
        title_justify="left",
        caption=f"from {corpus.source} · the server holds {len(dealt.reference)} reference rows · "
        f"classes: {', '.join(corpus.classes[:NAMED_CLASSES])}"
        + "".join(f" · {count} {what} dropped" for what, count in corpus.dropped.items() if count),
        caption_justify="left",
    )
    table.add_column("client", justify="right")
    table.add_column("domains")
    for name in ("train · validation · test", "classes in train", "majority", "logistic"):
        table.add_column(name, justify="right")
    for number, share in enumerate(dealt.shares):
        counts = np.bincount(share.train.labels, minlength=len(corpus.classes))
        table.add_row(
            str(number),
            ", ".join(share.domains) if len(share.domains) <= NAMED_DOMAINS else f"{len(share.domains)} domains",
            " · ".join(str(len(rows)) for rows in (share.train, share.validation, share.test)),
            " ".join(map(str, counts))
            if len(counts) <= NAMED_CLASSES
            else f"{np.count_nonzero(counts)} of {len(counts)}",
            f"{majority(share.train.labels, share.test.labels):.1%}",
            f"{alone[number]:.1%}" if alone else "not asked",
        )
    return table
