"""Rows of a public dataset of the Hugging Face hub, through the optional extra `hub`."""

from typing import Any

from data.corpus import DataError
from recipes.schema import DataConfig


def download(config: DataConfig) -> tuple[list[str], list[str]]:
    """Labels and texts of the train split, or of all splits where none has that name."""
    splits = opened(config.path, (config.path.removeprefix("hf:"),))
    chosen = [splits["train"]] if "train" in splits else splits.values()
    rows = [row for split in chosen for row in rows_of(config.path, split, config.label_column, config.text_column)]
    return [label for label, _ in rows], [text for _, text in rows]


def divided(name: tuple[str, ...], text_column: str) -> dict[str, list[tuple[str, str]]]:
    """Split → (label, text) of a data set, which may have several configurations."""
    where = f"hf:{'/'.join(name)}"
    return {key: rows_of(where, split, "label", text_column) for key, split in opened(where, name).items()}


def opened(where: str, name: tuple[str, ...]) -> Any:
    """The splits of a data set."""
    try:
        import datasets
    except ImportError:
        raise DataError(f"{where} needs the package datasets: pip install 'qflock[hub]'") from None
    try:
        return datasets.load_dataset(*name)
    except (OSError, ValueError, RuntimeError) as error:  # not found, gated, offline, needs a configuration
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{where} cannot be loaded: {reason}") from None


def rows_of(where: str, split: Any, label_column: str, text_column: str) -> list[tuple[str, str]]:
    """The labels and texts of one split, none of them empty."""
    for name in (text_column, label_column):
        if name not in split.column_names:
            found = ", ".join(split.column_names)
            raise DataError(f"{where}: no column {name}; found {found}: set data.text_column and label_column")
    texts = ["" if text is None else str(text) for text in split[text_column]]
    rows = list(zip(named(split, label_column), texts, strict=True))
    for number, (label, text) in enumerate(rows):
        if not label.strip() or not text.strip():
            raise DataError(f"{where}: row {number} lacks its label or text; save the rows you want as a .tsv file")
    return rows


def named(split: Any, column: str) -> list[str]:
    """A split's labels by their class names, where the dataset knows them; empty where a row has none (None or -1)."""
    labels = split[column]
    if names := getattr(split.features[column], "names", None):
        return ["" if label is None or label < 0 else names[label] for label in labels]
    return ["" if label is None else str(label) for label in labels]
