"""What every section of a recipe is: frozen, typed, and checked when it is made.

The checks are read from the annotations: types, `Literal` choices, tuples, and numbers `Between` two limits.
"""

import json
from dataclasses import dataclass, fields
from math import inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

LARGEST = 1.7e308  # of a number that is a float


class InputError(ValueError):
    """What a user gave cannot be used: one line that says what, where, and what to do. The command exits with 2."""


class RecipeError(InputError):
    """A recipe that cannot be run: one line that names the key, the value and what is allowed."""


@dataclass(frozen=True)
class Between:
    """Allowed numbers: low ≤ value ≤ high, or low < value when `above`."""

    low: float
    high: float = inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        if self.high == inf:
            return f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        return f"above {self.low:g} and at most {self.high:g}" if self.above else f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a recipe; refuses a value of the wrong type or outside its range."""

    def __post_init__(self) -> None:
        for key, hint in hints(type(self)).items():
            value = getattr(self, key)
            if not fits(value, hint):
                raise RecipeError(f"{key} is {shown(value)}; it must be {allowed(hint)}")


def refuse_changed(section: Section, why: str, *keys: str) -> None:
    """Refuse a key that has no meaning beside the others, once it is not its default."""
    defaults = {f.name: f.default for f in fields(section)}
    for key in sorted(keys):
        if getattr(section, key) != defaults[key]:
            raise RecipeError(f"{key} is {shown(getattr(section, key))}; {why} {key}: leave it out")


def hints(section: Any) -> dict[str, Any]:
    """Field name → type, in the order of the fields."""
    if section not in _hints:
        known = get_type_hints(section, include_extras=True)
        _hints[section] = {f.name: known[f.name] for f in fields(section)}
    return _hints[section]


_hints: dict[Any, dict[str, Any]] = {}


def fits(value: object, hint: Any) -> bool:
    """Whether a value has the type and lies in the range that the hint asks for."""
    origin = get_origin(hint)
    if origin is Annotated:
        kind, limits = get_args(hint)
        return fits(value, kind) and value in limits
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:  # of any length
        return isinstance(value, tuple) and all(fits(one, get_args(hint)[0]) for one in value)
    if origin in (UnionType, Union):
        return any(fits(value, kind) for kind in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is str:  # half a character is none, and two halves would come back from JSON as one
        return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)
    return isinstance(value, hint)


def allowed(hint: Any) -> str:
    """The hint in words, for the end of an error line."""
    origin = get_origin(hint)
    if origin is Annotated:
        kind, limits = get_args(hint)
        return f"{allowed(kind)} {limits}"
    if origin is Literal:
        *most, last = (str(choice) for choice in get_args(hint))
        return f"{', '.join(most)} or {last}" if most else last
    if origin is tuple:
        return "a list of " + allowed(get_args(hint)[0])
    if origin in (UnionType, Union):
        return " or ".join(allowed(kind) for kind in get_args(hint))
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}
    return words.get(hint, "a group of keys")


def shown(value: object) -> str:
    """A value as a recipe's author wrote it."""
    return json.dumps(value, default=str) if isinstance(value, str | bool | tuple | list | NoneType) else str(value)
