"""The words that name an executor in a recipe; what they mean is quantum/executor.py's."""

from difflib import get_close_matches

from recipes.section import RecipeError, shown

# kind → what stands after its colon
EXECUTORS = {
    "exact": "",
    "shots": "",
    "aer": "",
    "noisy": "fake device",
    "depolarizing": "probability",
    "ibm": "backend or least-busy",
    "ibm-local": "fake device",
}
READOUT_ERRORS = ("noisy", "ibm", "ibm-local")


def split_executor(spec: str) -> tuple[str, str]:
    """noisy:manila → ("noisy", "manila"); refuses a kind that does not exist, and a word too many or too few."""
    kind, colon, argument = spec.partition(":")
    forms = [name + (f":<{what}>" if what else "") for name, what in EXECUTORS.items()]
    if kind not in EXECUTORS:
        close = get_close_matches(kind, EXECUTORS, 1, 0.6)
        guess = f" Did you mean {forms[list(EXECUTORS).index(close[0])]}?" if close else ""
        raise RecipeError(f"executor is {shown(spec)}; it must be {', '.join(forms[:-1])} or {forms[-1]}.{guess}")
    if bool(EXECUTORS[kind]) != bool(argument) or bool(colon) != bool(argument):
        raise RecipeError(f"executor is {shown(spec)}; write it as {forms[list(EXECUTORS).index(kind)]}")
    if kind == "depolarizing" and not probability(argument):
        raise RecipeError(f"executor is {shown(spec)}; the probability of depolarizing is a number from 0 to 1")
    return kind, argument


def probability(text: str) -> bool:
    """Whether the text is a number from 0 to 1."""
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
