"""From YAML to a `Recipe`: strict, with the file, the key and the remedy in every error.

A recipe is named in one of three ways: a shipped name (`smoke`), a path, or the whole recipe as one line of YAML or
JSON (how a run carries it to every node). `extends:` names another recipe whose values this one changes; `sweep:` holds
lists of values that `qflock sweep` combines when it is told none, and is nothing to a single run.
"""

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, get_args, get_origin

import yaml

from recipes.schema import Recipe
from recipes.section import LARGEST, RecipeError, Section, hints, shown

SHIPPED = Path(__file__).parent


class About(NamedTuple):
    """What the first lines of a shipped recipe say."""

    summary: str
    run: str
    takes: str
    reproduces: str


def load(source: str, overrides: Iterable[str] = (), where: str = "--set") -> Recipe:
    """The recipe a user names, with `key=value` overrides applied last and just as strictly."""
    file, values = read(source)
    last_of_each = dict.fromkeys(reversed(list(overrides)))  # a=1 a=2 a=1 ends with a=1
    changes = {f"{where} {override}: ": changed(override, where) for override in reversed(last_of_each)}
    whole = values
    for change in changes.values():
        whole = merged(whole, change)
    try:
        return build(whole)
    except RecipeError as error:
        raise RecipeError(f"{culprit(str(error), f'{file}: ', values, changes)}{error}") from None


def changed(override: str, where: str) -> dict[str, Any]:
    """The values that one `key=value` sets."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{where} {override}: write it as key=value, for example {where} student.reps=2")
    nested: Any = parse(value, f"{where} {override}")
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    values: dict[str, Any] = anchored(checked(nested, f"{where} {override}: "), Path.cwd())
    return values


def culprit(error: str, file: str, values: dict[str, Any], changes: dict[str, dict[str, Any]]) -> str:
    """What to name in an error: the file or the one change that alone makes it, else the last change."""
    for name, alone in {file: values, **{name: merged(values, change) for name, change in changes.items()}}.items():
        try:
            build(alone)
        except RecipeError as found:
            if str(found) == error:
                return name
    return list(changes)[-1]


def from_run_config(config: Mapping[str, Any]) -> Recipe:
    """The recipe that Flower's run-config keys name; server and clients both come through here."""
    return named(str(config.get("recipe", "smoke")), int(config.get("rounds", 0)), str(config.get("override", "")))


@lru_cache(maxsize=1)  # a client reads it with every message
def named(source: str, rounds: int, override: str) -> Recipe:
    """The recipe of a run config."""
    try:
        overrides = shlex.split(override) + ([f"rounds={rounds}"] if rounds else [])
    except ValueError as error:
        raise RecipeError(f"override {override}: {error}; write it as 'key=value key=value'") from None
    return load(source, overrides, where="override")


def sweep_of(source: str) -> list[str]:
    """The `key=value,value` of a recipe's own sweep, as the command line would say them."""
    if source.lstrip().startswith("{"):
        return []
    path = located(source, ())
    lists = read_mapping(path).get("sweep", {})
    if not isinstance(lists, dict) or not all(isinstance(values, list) and values for values in lists.values()):
        raise RecipeError(
            f"{path.name}: sweep is {shown(lists)}; it must hold lists of values, as in sweep: {{clients: [5, 10]}}"
        )
    return [f"{key}={','.join(json.dumps(value) for value in values)}" for key, values in lists.items()]


def shipped() -> dict[str, Path]:
    """Name → file of the recipes that come with the program."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def about(path: Path) -> About:
    """The header comment of a shipped recipe."""
    comments = re.findall(r"^# ?(.*)$", path.read_text(encoding="utf-8").split("\n\n")[0], flags=re.MULTILINE)
    said = dict(re.findall(r"^(run|takes|reproduces): +(.*)$", "\n".join(comments), flags=re.MULTILINE))
    summary = " ".join(line for line in comments if not re.match(r"(run|takes|reproduces): ", line))
    return About(summary, said.get("run", ""), said.get("takes", ""), said.get("reproduces", ""))


def read(source: str, extended_by: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """(name for messages, all values), with `extends:` resolved."""
    if source.lstrip().startswith("{"):
        return "recipe", checked(parse(source, "recipe"), "recipe: ")
    path = located(source, extended_by)
    if str(path) in extended_by:
        raise RecipeError(
            f"{path.name}: extends goes in a circle: {' → '.join(Path(p).name for p in (*extended_by, str(path)))}"
        )
    mapping = read_mapping(path)
    mapping.pop("sweep", None)
    base = mapping.pop("extends", None)
    if base is not None and not isinstance(base, str):
        raise RecipeError(f"{path.name}: extends is {shown(base)}; it must be a recipe's name or path")
    mapping = anchored(mapping, path.parent)
    values = {"name": re.sub(r"[^\w.-]+", "-", path.stem, flags=re.ASCII)} | checked(mapping, f"{path.name}: ")
    if base is not None:
        values = merged(read(base, (*extended_by, str(path)))[1], values)
    return path.name, values


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values that a file says itself."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    mapping = parse(text, path.name)
    if not isinstance(mapping, dict):
        raise RecipeError(f"{path.name}: holds {shown(mapping)}; it must be lines of key: value")
    return mapping


def located(source: str, extended_by: tuple[str, ...]) -> Path:
    """The file that a name or a path means; a path in `extends` is relative to the file that says it."""
    path = Path(os.path.expanduser(source))  # noqa: PTH111 - Path's own raises for an unknown ~user
    beside = Path(extended_by[-1]).parent / path if extended_by else path
    for candidate in (beside, SHIPPED / f"{source}.yaml"):
        if os.path.isfile(candidate):  # noqa: PTH113 - Path's own raises for a name that is too long
            return candidate.resolve()
    names = list(shipped())
    by = f"{Path(extended_by[-1]).name}: extends " if extended_by else ""
    raise RecipeError(
        f"{by}{source}: no such file, and no shipped recipe of that name."
        f"{near(source, names)} Shipped: {', '.join(names)}"
    )


def build(values: Mapping[str, Any]) -> Recipe:
    """A `Recipe` out of checked values."""
    recipe = made(Recipe, values, "")
    assert isinstance(recipe, Recipe)
    return recipe


def anchored(values: Any, folder: Path) -> Any:
    """Values in which no path is relative any longer: what was one is relative to where it was written."""
    for section, key, relative in (
        ("data", "path", data_path),
        ("teacher", "model", dotted),
        ("features", "model", dotted),
    ):
        group = values.get(section) if isinstance(values, dict) else None
        if isinstance(group, dict) and isinstance(path := group.get(key), str) and relative(path):
            values = {**values, section: {**group, key: str(folder / path)}}
    return values


def data_path(path: str) -> bool:
    """Whether data.path is a relative path."""
    return path[:1] not in ("", "~", "/") and not path.startswith("hf:")


def dotted(model: str) -> bool:
    """Whether a model is named by a relative path; `owner/name` is a hub id."""
    return model.startswith(".")


def made(section: type[Section], mapping: Mapping[str, Any], prefix: str) -> Section:
    """One section, and the sections in it."""
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        hint = hints(section)[key]
        if is_section(hint):
            values[key] = made(hint, value, f"{prefix}{key}.")
        else:
            values[key] = kept_as(value, hint)
    try:
        return section(**values)
    except RecipeError as error:
        raise RecipeError(f"{prefix}{error}") from None


def kept_as(value: Any, hint: Any) -> Any:
    """A value as a section holds it: a list as a tuple, a whole number as a fraction where it stands for one."""
    if isinstance(value, list) and get_origin(hint) is tuple:
        return tuple(value)
    return float(value) if fractional(value, hint) else value


def checked(
    mapping: Any, where: str, section: type[Section] = Recipe, prefix: str = "", root: type[Section] | None = None
) -> dict[str, Any]:
    """The mapping itself, once every key in it is one that the schema knows; `root` is the outermost section."""
    root = root or section
    if not isinstance(mapping, dict):
        raise RecipeError(f"{where}{prefix.rstrip('.') or 'it'} is {shown(mapping)}; it must be a group of keys")
    for key, value in mapping.items():
        if key not in hints(section):
            here = [f"{prefix}{name}" for name in hints(section)]
            guess = near(key, here) or near(key, list(every_key(root)))
            said = key if key.isprintable() else shown(key)
            raise RecipeError(
                f"{where}{prefix}{said} is not a key.{guess or ' Keys here: ' + ', '.join(hints(section))}"
            )
        if is_section(hints(section)[key]):
            checked(value, where, hints(section)[key], f"{prefix}{key}.", root)
    return mapping


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, section by section."""
    both = {
        key: merged(base[key], value)
        for key, value in over.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return base | over | both


def every_key(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Everything a recipe may set, as dotted keys."""
    for key, hint in hints(section).items():
        if is_section(hint):
            yield from every_key(hint, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def is_section(hint: Any) -> TypeGuard[type[Section]]:
    """Whether a field holds a group of keys."""
    return isinstance(hint, type) and issubclass(hint, Section)


def fractional(value: object, hint: Any) -> bool:
    """Whether a whole number stands where a fraction may; it is then kept as one, so that 3 and 3.0 digest alike."""
    return type(value) is int and abs(value) <= LARGEST and takes_fractions(hint)


def takes_fractions(hint: Any) -> bool:
    """Whether the hint is `float`, perhaps with limits or None beside it."""
    return hint is float or any(takes_fractions(part) for part in get_args(hint))


def near(word: str, keys: list[str]) -> str:
    """' Did you mean …?' for the key whose last part looks most like the word, or nothing."""
    tails = {key.rpartition(".")[2]: key for key in reversed(keys)}
    found = get_close_matches(word, list(tails), 1, 0.7)
    return f" Did you mean {tails[found[0]]}?" if found else ""


class Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number and refuses a key that stands twice."""


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if not isinstance(key, str):
            raise yaml.MarkedYAMLError(problem=f"the key {shown(key)} is not text", problem_mark=node.start_mark)
        if keys.count(key) > 1:
            raise yaml.MarkedYAMLError(problem=f"the key {key} stands twice", problem_mark=node.start_mark)
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse(text: str, where: str) -> Any:
    """YAML text as plain values; a syntax error is one line that names the place."""
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2024-13-45 looks like a date
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or (str(error) if type(error) is ValueError else "cannot be parsed")
        raise RecipeError(f"{where}{line}: not valid YAML: {what}") from None
