"""What the committed studies share: the words on their command line, and where their numbers come from."""

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.schema import Recipe
from server.outcome import Outcome

Results = dict[str, Any]


def asked(
    prog: str, about: str | None, *, seeds: int, results: Path, recipe: str = "", only: Sequence[str] = ()
) -> argparse.Namespace:
    """What to run, how often, how many at once, and where to write; on SIGTERM what was started is ended."""
    words = argparse.ArgumentParser(prog=prog, description=(about or "").split("\n")[0])
    if recipe:
        words.add_argument("--recipe", default=recipe)
    if only:
        words.add_argument("--only", nargs="+", default=only, choices=only, help="some of the studies")
    words.add_argument("--seeds", type=int, default=seeds)
    words.add_argument("--jobs", type=int, help="runs side by side, instead of one a core")
    words.add_argument("--runs-dir", type=Path, default=Path("runs"))
    words.add_argument("--results", type=Path, default=results)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return words.parse_args()


def kept(path: Path) -> dict[tuple[str, tuple[int, ...]], Results]:
    """The rows of a results file by their digest and seeds: a study that is given again runs only what it lacks."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return {(row["recipe_digest"], tuple(row["seeds"])): row for row in rows}


def unseeded(recipe: Recipe) -> str:
    """What a row's runs have in common."""
    return replace(recipe, seed=0).digest()


def origin(recipe: Recipe, outcomes: Sequence[Outcome], command: str) -> Results:
    """All that the numbers depend on; the commits are those that the runs ran at."""
    ran = [json.loads((run.folder / "environment.json").read_text(encoding="utf-8")) for run in outcomes]
    return {
        "schema": 1,
        "commit": ", ".join(sorted({facts["qflock"] for facts in ran})),
        "command": command,
        "recipe": recipe.name,
        "recipe_digest": unseeded(recipe),
        "seeds": sorted({run.recipe.seed for run in outcomes}),
        "packages": ran[0]["packages"],
    }


def cited(results: Results) -> str:
    """Where a table's numbers come from, in one sentence."""
    seeds = f"seeds {results['seeds'][0]} to {results['seeds'][-1]}"
    return f"Recipe `{results['recipe']}` ({results['recipe_digest']}), {seeds}, qflock {results['commit']}."


def over(counts: Iterable[int]) -> str:
    """1 seed, 3 seeds, or 3 or 5 seeds."""
    found = sorted(set(counts))
    return f"{' or '.join(map(str, found))} seed{'' if found == [1] else 's'}"


def commits(results: Results) -> str:
    """The commits that the rows of a study ran at."""
    return ", ".join(sorted({part for row in results["rows"] for part in row["commit"].split(", ")}))


def write(results: Results, path: Path) -> None:
    """The results file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
