"""Rows of a public dataset of the Hugging Face hub, through the optional extra `hub`."""

from typing import Any

from data.corpus import DataError
from recipes.schema import DataConfig


def download(config: DataConfig) -> tuple[list[str], list[str]]:
    """Labels and texts of the train split, or of all splits where none has that name."""
    try:
        import datasets
    except ImportError:
        raise DataError(f"{config.path} needs the package datasets: pip install 'qflock[hub]'") from None
    try:
        splits = datasets.load_dataset(config.path.removeprefix("hf:"))
    except (OSError, ValueError, RuntimeError) as error:  # not found, gated, offline, needs a configuration
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{config.path} cannot be loaded: {reason}") from None
    labels: list[str] = []
    texts: list[str] = []
    for split in [splits["train"]] if "train" in splits else splits.values():
        for name in (config.text_column, config.label_column):
            if name not in split.column_names:
                found = ", ".join(split.column_names)
                raise DataError(
                    f"{config.path}: no column {name}; found {found}: set data.text_column and label_column"
                )
        labels += named(split, config.label_column)
        texts += ["" if text is None else str(text) for text in split[config.text_column]]
    for row, (label, text) in enumerate(zip(labels, texts, strict=True)):
        if not label.strip() or not text.strip():
            raise DataError(f"{config.path}: row {row} lacks its label or text; save the rows you want as a .tsv file")
    return labels, texts


def named(split: Any, column: str) -> list[str]:
    """A split's labels by their class names, where the dataset knows them; empty where a row has none (None or -1)."""
    labels = split[column]
    if names := getattr(split.features[column], "names", None):
        return ["" if label is None or label < 0 else names[label] for label in labels]
    return ["" if label is None else str(label) for label in labels]
