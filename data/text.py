"""The user's own rows: a file, a folder with one file a domain, or a dataset of the Hugging Face hub.

    reviews.tsv, .txt   label<TAB>text, one a line; a first line that names the two columns is a header
    reviews.csv         a header, then one row a record; the columns are named in the recipe
    reviews.jsonl       one JSON object a line, the same columns

Each may be compressed (`.tsv.gz`). Every class needs 3 rows; a header is the first row or none. Lines end in \\n or
\\r\\n only: tweets hold other Unicode separators.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.corpus import Corpus, DataError, tidy
from recipes.schema import DataConfig

Row = tuple[int, str, str]  # line number, label, text

FEWEST = 3  # rows of a class: one to train on, one for validation, one for the test


def read(config: DataConfig) -> Corpus:
    """The rows at `path`, whatever it is."""
    if config.path.startswith("hf:"):
        from data.hub import download

        labels, texts = download(config)
        return tidy(config.path, texts, labels, [0] * len(texts), [config.path.removeprefix("hf:")])
    path, files = located(config)
    held = [list(checked(file, config)) for file in files]
    texts = [text for rows in held for _, _, text in rows]
    labels = [label for rows in held for _, label, _ in rows]
    domains = [domain for domain, rows in enumerate(held) for _ in rows]
    corpus = tidy(str(path), texts, labels, domains, domain_names(files))
    refuse_rare(corpus, files, held)
    return corpus


def refuse_rare(corpus: Corpus, files: list[Path], held: list[list[Row]]) -> None:
    """A class of very few rows is a mistyped label, or a header that took itself for a row."""
    counts = dict(zip(corpus.classes, np.bincount(corpus.labels, minlength=len(corpus.classes)).tolist(), strict=True))
    for file, rows in zip(files, held, strict=True):
        for row, (number, label, text) in enumerate(rows):
            if 0 < (count := counts.get(label, FEWEST)) < FEWEST:
                advice = "correct the label, remove it or add rows"
                if row == 0 and READERS[ending(file)] is tabbed:
                    columns = f"data.label_column to {short(label)} and data.text_column to {short(text)}"
                    advice = f"if this line is a header, set {columns}, else {advice}"
                found = f"the label {short(label)} has {count} row{'s' * (count > 1)}"
                raise DataError(f"{file}:{number}: {found}; every class needs {FEWEST} or more: {advice}")


def located(config: DataConfig) -> tuple[Path, list[Path]]:
    """`data.path` as the file system knows it, and the files there."""
    try:
        path = Path(config.path).expanduser()
        return path, files_at(path)
    except RuntimeError:  # ~nobody/x.tsv
        raise DataError(f"{short(config.path)}: no such home folder; write data.path without the ~") from None
    except OSError as error:  # too long, or in a folder that may not be looked into
        raise DataError(f"{short(config.path)}: cannot be read ({error.strerror}); change data.path") from None


def files_at(path: Path) -> list[Path]:
    """The file itself, or all readable files of a folder by name."""
    endings = f"{', '.join(READERS)}, each also with .gz"
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; data.path is relative to where qflock was started")
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if ending(file) in READERS and not file.name.startswith("."))
        if not files:
            raise DataError(f"{path}: no file in this folder can be read; one file a domain is expected: {endings}")
        return files
    if ending(path) not in READERS:
        raise DataError(f"{path}: the ending {ending(path) or '(none)'} is not known; use {endings}")
    return [path]


def ending(path: Path) -> str:
    """`.tsv` of both x.tsv and x.tsv.gz."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def domain_names(files: list[Path]) -> list[str]:
    """File names without their endings, or with them where they would be equal."""
    stems = [Path(file.name.removesuffix(".gz")).stem for file in files]
    return stems if len(set(stems)) == len(stems) else [file.name for file in files]


def checked(path: Path, config: DataConfig) -> Iterator[Row]:
    """A file's rows, none of them with an empty label or text, and at least one."""
    number = 0
    for number, label, text in READERS[ending(path)](path, content(path), config):
        for name, value in (("label", label), ("text", text)):
            if not value.strip():
                raise DataError(f"{path}:{number}: the {name} is empty; give this row a {name} or remove it")
        yield number, label.strip(), text
    if number == 0:
        raise DataError(f"{path}: no rows; expected a label and a text a line")


def content(path: Path) -> str:
    """The whole file as text, which must be UTF-8."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if path.suffix == ".gz":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: not a whole gzip file ({error}); compress it again") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise DataError(f"{path}:{line}: the byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None


def lines_of(content: str) -> Iterator[tuple[int, str]]:
    """Line numbers and lines, without the empty ones."""
    for number, line in enumerate(content.split("\n"), start=1):
        if line := line.removesuffix("\r"):
            yield number, line


def tabbed(path: Path, content: str, config: DataConfig) -> Iterator[Row]:
    """`label<TAB>text`; further tabs belong to the text."""
    for place, (number, line) in enumerate(lines_of(content)):
        label, tab, text = line.partition("\t")
        if not tab:
            raise DataError(f"{path}:{number}: found {short(line)} without a tab; expected label<TAB>text")
        if place or (label, text) != (config.label_column, config.text_column):
            yield number, label, text


def records(path: Path, content: str, config: DataConfig) -> Iterator[Row]:
    """Comma-separated values under a header (RFC 4180); a quoted text may span lines."""
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    header: list[str] = []
    number = 1
    try:
        for cells in reader:
            if cells and not header:
                header = cells
                label, text = (column(f"{path}:{number}", header, name) for name in columns(config))
            elif cells and len(cells) != len(header):
                raise DataError(f"{path}:{number}: found {len(cells)} cells; the header has {len(header)}")
            elif cells:
                yield number, cells[label], cells[text]
            number = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{number}: not CSV ({error}); quote a text that holds commas or quotes") from None


def objects(path: Path, content: str, config: DataConfig) -> Iterator[Row]:
    """One JSON object a line; a label may be text or a whole number."""
    for number, line in lines_of(content):
        where = f"{path}:{number}"
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: not JSON ({error.msg} at character {error.colno}): {short(line)}") from None
        except ValueError:  # of more digits than Python turns into a number
            raise DataError(f"{where}: a number is too long; write it as text, in quotes: {short(line)}") from None
        except RecursionError:
            raise DataError(f"{where}: too deeply nested; a label and a text are enough: {short(line)}") from None
        if not isinstance(found, dict):
            raise DataError(f"{where}: found {short(line)}; expected a JSON object such as {{...}}")
        label, text = (found[list(found)[column(where, list(found), name)]] for name in columns(config))
        yield number, worded(where, "label", label), worded(where, "text", text)


def columns(config: DataConfig) -> tuple[str, str]:
    """Where the recipe says that the labels and the texts are."""
    return config.label_column, config.text_column


def column(where: str, found: list[str], name: str) -> int:
    """The place of a column, or an error that lists those there are."""
    if name not in found:
        listed = ", ".join(found) or "none"
        raise DataError(f"{where}: no column {name}; found {listed}: set data.text_column and data.label_column")
    return found.index(name)


def worded(where: str, name: str, value: Any) -> str:
    """A JSON value as text; an absent one is empty."""
    if value is None:
        return ""
    if isinstance(value, str) or (name == "label" and isinstance(value, int)):
        return str(value)
    wanted = "text or a whole number" if name == "label" else "text"
    raise DataError(f"{where}: the {name} is {short(written(value))}; it must be {wanted}")


def written(value: Any) -> str:
    """A JSON value as it stood in the file; of an object or a list, which may be deep, its kind alone."""
    if isinstance(value, dict | list):
        return "{…}" if isinstance(value, dict) else "[…]"
    return json.dumps(value)


def short(line: str) -> str:
    """Enough of a line to find it by."""
    return repr(line if len(line) <= 40 else f"{line[:40]}…")


READERS: dict[str, Callable[[Path, str, DataConfig], Iterator[Row]]] = {
    ".tsv": tabbed,
    ".txt": tabbed,
    ".csv": records,
    ".jsonl": objects,
}
