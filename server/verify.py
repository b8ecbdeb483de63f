"""What the three papers say beside what we measure: a count or a formula now, an accuracy from runs that are there.

A claim is reproduced when our number is within its tolerance; one that nobody measured here says the command that does.
Accuracies are of finished runs, else of the studies that the repository keeps.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from recipes.load import load
from recipes.schema import GeneratorConfig, Recipe
from recipes.section import InputError
from server.ablation import FULL, PLAIN
from server.effects import WORK
from server.folder import APP
from server.outcome import Outcome, outcome
from server.page import Column, Sheet
from server.record import STUDENT, record
from server.sweep import Standing, by_digest

log = logging.getLogger(__name__)

SEEDS = 20  # that are looked for among finished runs
CLAIMS = Path(__file__).with_name("claims.yaml")
STUDIES = APP / "bench" / "results"
REPRODUCED, NOT, UNPUBLISHED, UNMEASURED = "reproduced", "not reproduced", "not published", "not measured here"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One number of a paper."""

    paper: str
    claim: str
    source: str
    command: str
    published: float | None = None
    tolerance: float = 0.0
    at_least: bool = False
    measure: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def verdict(self, ours: float | None) -> str:
        """Counts must agree; of an accuracy more is as good."""
        if self.published is None:
            return UNPUBLISHED
        if ours is None:
            return UNMEASURED
        apart = self.published - ours
        return REPRODUCED if (apart if self.at_least else abs(apart)) <= self.tolerance * (1 + 1e-9) else NOT


def claims() -> list[Claim]:
    """The registry."""
    papers = yaml.safe_load(CLAIMS.read_text(encoding="utf-8"))
    return [Claim(paper=paper, **said) for paper, listed in papers.items() for said in listed]


def verify(runs_dir: Path) -> Sheet:
    """Every claim, our number beside theirs."""
    rows = []
    for one in claims():
        ours, seeds = measured(one.measure, runs_dir)
        said = f"{one.source}; {one.note}" if one.note else one.source
        rows.append([one.paper, one.claim, one.published, ours, seeds, one.verdict(ours), said, one.command])
    heads = (
        *(Column("paper", place="above"), Column("claim", place="last"), Column("theirs", short)),
        *(Column("ours", short), Column("seeds", short), Column("verdict")),
        *(Column("source", place="below"), Column("command", place="below")),
    )
    return Sheet("verify", "three papers, claim by claim", heads, rows)


def measured(measure: dict[str, Any], runs_dir: Path) -> tuple[float | None, int | None]:
    """Our number, or None where there is none yet; where it is a mean over seeds, of how many."""
    for kind, arguments in measure.items():
        if kind == "run":
            found: float | list[float] = accuracies(runs_dir, **arguments)
        else:
            found = MEASURES[kind](**arguments) if isinstance(arguments, dict) else MEASURES[kind](*arguments)
        if not isinstance(found, list):
            return found, None
        return (fmean(found), len(found)) if found else (None, None)
    return None, None


def accuracies(runs_dir: Path, recipe: str, row: str = STUDENT, set: list[str] | None = None) -> list[float]:  # noqa: A002
    """Test accuracy of every seed that was run, alone or in a sweep's folder; else of those of a study."""
    shipped = load(recipe, set or [])
    wanted = [replace(shipped, seed=seed).digest() for seed in range(SEEDS)]
    homes = [runs_dir, *(path.parent for path in runs_dir.glob("*/sweep.json"))]
    found = [at for home in homes for at in by_digest(home, wanted).values()]
    outcomes = [run for at in found if (run := finished(at))]
    seen = {run.recipe.seed: run.accuracy(row) for run in outcomes if row in (*run.arms, *run.alone)}
    return list(seen.values()) or studied(STUDIES, recipe, set or []).get(row, [])


def finished(at: Standing) -> Outcome | None:
    """A completed run that was scored; one that cannot be read is passed over, and that is said."""
    try:
        if at.state == "completed" and at.folder and record(at.folder).score.get("arms"):
            return outcome(at.folder)
    except InputError as error:
        pass_over(str(error))
    if at.state == "failed" and not at.folder:
        pass_over(at.reason)
    return None


@cache
def pass_over(reason: str) -> None:
    """Said once, however many claims ask for the run."""
    log.warning("passed over: %s", reason)


def studied(studies: Path, recipe: str, changes: list[str]) -> dict[str, list[float]]:
    """Accuracies by arm, a number a seed, of a recipe in a committed study; none in an installed package."""
    for path in sorted(studies.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")).get("rows", []):
            if isinstance(row.get("accuracy"), dict) and (row.get("recipe"), row.get("changes")) == (recipe, changes):
                return dict(row["accuracy"])
    return {}


def in_one_place(studies: Path, corpus: str) -> dict[str, list[float]]:
    """Accuracies by method, a number a seed, of the committed study of QD-LLM, where a single client holds all rows."""
    path = studies / "qdllm.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"corpora": {}}
    rows = whole["corpora"].get(corpus, {"rows": {}})["rows"]
    return {name.partition(":")[0]: [seed["accuracy"] for seed in seeds] for name, seeds in rows.items()}


def central(corpus: str) -> list[float]:
    """The student's, of that study."""
    return in_one_place(STUDIES, corpus).get(STUDENT, [])


def parameters(recipe: str, set: list[str] | None = None, classes: int = 2, columns: int = 0) -> int:  # noqa: A002
    """Numbers of a recipe's student."""
    from quantum.arms import arms

    return int(arms(load(recipe, set or []).student, classes, columns=columns)["student"].parameters)


def generator(of: str, config: dict[str, Any] | None = None) -> float:
    """What a generator of networks takes, and what it saves in percent."""
    from quantum.generator import Generator
    from quantum.targets import weights_of

    values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in (config or {}).items()}
    chosen = GeneratorConfig(**values)
    made = Generator(chosen, weights_of(chosen.target))
    total = sum(made.sizes.values())
    facts = {**made.sizes, "total": total, "target": made.most, "qubits": made.qubits}
    return float(facts[of]) if of in facts else 100 * (1 - total / made.most)


def weights(circuit: str, **numbers: Any) -> int:
    """Angles of a circuit."""
    from quantum.circuits import CIRCUITS

    return len(CIRCUITS[circuit](**numbers).weights)


def admitted(recipe: str, clients: int, percent: float) -> int:
    """How many clients a recipe's selection takes."""
    return load(recipe, [f"clients={clients}", f"select.percent={percent}"]).select.takes(clients)


def setting(recipe: str, key: str) -> float:
    """A number that a recipe had to choose."""
    return float(value(load(recipe), key))


def value(recipe: Recipe, key: str) -> Any:
    found: Any = asdict(recipe)
    for part in key.split("."):
        if part not in found:
            raise InputError(f"{CLAIMS.name}: {key} is not a key of a recipe")
        found = found[part]
    return found


def mean(*values: float) -> float:
    return fmean(values)


def ratio(part: float, whole: float) -> float:
    return part / whole


def saved(study: str) -> list[float]:
    """Share of evaluations that a committed study's full student saves to the loss at which the plain one ends.

    1 − e_full/e_plain of every seed. One that never gets there has spent all its evaluations and would need more, so
    the number is an upper bound. There is none where no study is kept, as in an installed package.
    """
    path = STUDIES / f"{study}.json"
    if not path.is_file():
        return []
    arms = {line["arm"]: line for line in json.loads(path.read_text())["arms"] if line["model"] == STUDENT}
    full = [reached or all_ for reached, all_ in zip(arms[FULL][WORK], arms[FULL]["evaluations"], strict=True)]
    return [1 - spent / base for spent, base in zip(full, arms[PLAIN][WORK], strict=True)]


def short(number: float) -> str:
    """Counts whole, shares to four digits."""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:.4g}"


MEASURES: dict[str, Callable[..., float | list[float]]] = {  # a number, or one a seed
    made.__name__: made for made in (parameters, generator, weights, admitted, setting, mean, ratio, saved, central)
}
