"""Published data sets that come divided into train, validation and test; their splits are kept.

Looked for in $QFLOCK_DATA/<folder>/{train,val,test}.tsv.gz, `label<TAB>text` a line, labels 0, 1, … or by name. Without
that folder, `genomic` and `tweets` are asked for by name at the Hugging Face hub, through the optional extra `hub`.
Files may hold another cut than the hub's: accuracies on the one say nothing about the other.

genomic  human or worm, 200 letters of DNA: Grešová et al. 2023, Genomic Benchmarks (Apache-2.0)
tweets   SemEval-2017 task 4 as in TweetEval, Barbieri et al. 2020, arXiv:2010.12421
senti, stega, topic   the public part of QD-LLM's data, arXiv:2505.13205; no licence is stated, so none is shipped
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.corpus import TEST, TRAIN, VALIDATION, Corpus, DataError, tidy
from data.kmers import refuse_foreign
from data.text import checked
from recipes.schema import DataConfig

# the test first: of equal texts the first is kept, so the test loses no row to the others
SPLITS = {TEST: "test", VALIDATION: "val", TRAIN: "train"}
HUB_SPLITS = {TEST: "test", VALIDATION: "validation", TRAIN: "train"}
EVERY = 5

Row = tuple[int, str, str, str]  # split, where it was found, label, text


@dataclass(frozen=True)
class Source:
    """Where a data set is to be found."""

    folder: str
    classes: tuple[str, ...]  # named 0, 1, … in files
    hub: tuple[str, ...] = ()  # data set and configuration
    text_column: str = "text"  # at the hub


def read(config: DataConfig) -> Corpus:
    """The data set that a recipe names, from the first place that has it."""
    source = SOURCES[config.corpus]
    folder = folder_of(config.corpus)
    where, rows = (str(folder), from_files(folder, config)) if folder else from_hub(config.corpus)
    texts, labels, splits = [], [], []
    for split, place, label, text in rows:
        if config.corpus == "genomic":
            refuse_foreign(place, text)
        texts.append(text)
        labels.append(class_of(place, label, source.classes))
        splits.append(split)
    return tidy(where, texts, labels, [0] * len(texts), [config.corpus], splits)


def folder_of(corpus: str) -> Path | None:
    """The data set's folder in $QFLOCK_DATA, where there is one."""
    root = os.environ.get("QFLOCK_DATA", "")
    folder = Path(root).expanduser().absolute() / SOURCES[corpus].folder
    return folder if root and folder.is_dir() else None


def from_files(folder: Path, config: DataConfig) -> Iterator[Row]:
    """All rows of the three files, which must all be there."""
    missing = [f"{name}.tsv.gz" for name in SPLITS.values() if not (folder / f"{name}.tsv.gz").is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}; add the file, label<TAB>text a line")
    for split, name in SPLITS.items():
        file = folder / f"{name}.tsv.gz"
        for number, label, text in checked(file, config):
            yield split, f"{file}:{number}", label, text


def from_hub(corpus: str) -> tuple[str, Iterator[Row]]:
    """From the hub, where a data set is there by its own name; without a validation split it lends every fifth row."""
    source, root = SOURCES[corpus], os.environ.get("QFLOCK_DATA", "")
    wanted = f"{source.folder}/{{{','.join(reversed(SPLITS.values()))}}}.tsv.gz, label<TAB>text a line"
    looked = f"QFLOCK_DATA is {root}, without a folder {source.folder}" if root else "QFLOCK_DATA is not set"
    if not source.hub:
        raise DataError(f"corpus {corpus} is not here: {looked}; set it to a folder that holds {wanted}")
    from data.hub import divided

    try:
        found = divided(source.hub, source.text_column)
    except DataError as error:
        raise DataError(
            f"corpus {corpus} is not here: {looked}; {error} | Make the hub reachable, or set QFLOCK_DATA to a folder "
            f"that holds {wanted}"
        ) from None
    where = f"hf:{'/'.join(source.hub)}"

    def rows() -> Iterator[Row]:
        for split, name in HUB_SPLITS.items():
            for number, (label, text) in enumerate(found.get(name, [])):
                lent = split == TRAIN and "validation" not in found and number % EVERY == EVERY - 1
                yield VALIDATION if lent else split, f"{where} {name} row {number}", label, text

    return where, rows()


def class_of(where: str, label: str, classes: tuple[str, ...]) -> str:
    """A label's name, given by name or by number."""
    known = {str(number): name for number, name in enumerate(classes)} | {name: name for name in classes}
    if label not in known:
        allowed = ", ".join(f"{number} ({name})" for number, name in enumerate(classes))
        raise DataError(f"{where}: the label is {label!r}; it must be one of {allowed}")
    return known[label]


SOURCES = {
    "genomic": Source(
        "human_or_worm", ("human", "worm"), ("katarinagresova/Genomic_Benchmarks_demo_human_or_worm",), "seq"
    ),
    "tweets": Source("tweet_sentiment", ("negative", "neutral", "positive"), ("cardiffnlp/tweet_eval", "sentiment")),
    "senti": Source("senti", ("negative", "positive")),
    "stega": Source("stega", ("cover", "stego")),
    "topic": Source("topic", ("business", "sci", "sport", "world")),
}
