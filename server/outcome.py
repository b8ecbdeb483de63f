"""What a finished run came to, read from its folder; and how far one that has not finished is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.load import load
from recipes.schema import Recipe
from recipes.section import InputError, RecipeError
from server.ledger import Line, holds, newest, untaught, visits, whole
from server.record import number

ALONE = ("head", "logistic", "majority")  # what needs no student, as far as a ledger has it

PART = ("reference_loss", "reference_accuracy")
VISIT = ("evaluations", "shots", "rho", "teacher_loss")


@dataclass(frozen=True)
class Outcome:
    """A completed run: its recipe, and its ledger taken apart."""

    folder: Path
    recipe: Recipe
    score: Line
    rounds: list[Line]
    bytes: int
    seconds: float  # of all visits; starting Flower and Ray is not among them
    corpus: str | None = None  # the digest of its rows, where the ledger has it

    @property
    def arms(self) -> list[str]:
        return list(self.score["arms"])

    @property
    def alone(self) -> list[str]:
        return [name for name in ALONE if self.score.get(name) is not None]

    def accuracy(self, name: str) -> float:
        """On the clients' test rows; of an arm or a baseline."""
        arm = self.score["arms"].get(name)
        return float(arm["accuracy"] if arm else self.score[name])

    def trace(self, arm: str, key: str) -> list[float]:
        """One number a round on the server's reference rows; an arm that has stopped keeps its last."""
        found: list[float] = []
        for line in self.rounds:
            found.append(number(line["arms"][arm], key) if arm in line["arms"] else found[-1])
        return found

    def parameters(self, arm: str) -> int | None:
        """Numbers that travel; None in a ledger of before they were noted."""
        found: int | None = next(line["arms"][arm].get("parameters") for line in self.rounds if arm in line["arms"])
        return found

    def evaluations(self, arm: str) -> int:
        """Objective evaluations of all clients in all rounds."""
        return sum(client["evaluations"] for client in visits(self.rounds, arm))

    def shots(self, arm: str) -> int:
        """That all fits of all clients took; 0 on the exact engine."""
        return sum(client["shots"] for client in visits(self.rounds, arm))

    def trained(self, arm: str) -> list[Line]:
        """An arm's part of every round before it stopped."""
        return [line["arms"][arm] for line in self.rounds if arm in line["arms"]]

    def reaches(self, arm: str, loss: float) -> int | None:
        """Evaluations of all clients to the end of the first round whose reference loss is so low; None if never."""
        spent = 0
        for part in self.trained(arm):
            spent += sum(int(client["evaluations"]) for client in part["clients"].values())
            if number(part, "reference_loss") <= loss:
                return spent
        return None


def outcome(folder: Path) -> Outcome:
    """Read a completed run; anything else is one line that says what to do."""
    if not holds(folder, "recipe.yaml"):
        raise InputError(f"{folder} is not a run folder: it has no recipe.yaml")
    ledger = whole(folder)
    end = ledger[-1] if ledger and ledger[-1]["kind"] == "end" else None
    if end is None or end.get("state") != "completed":
        state = f"failed: {end.get('reason')}" if end else f"has not ended ({reached(ledger)} rounds so far)"
        raise InputError(f"{folder} {state}. Go on with: qflock resume {folder}")
    score = next((line for line in ledger if line["kind"] == "score"), {})
    if not score.get("arms"):
        raise InputError(f"{folder} has no accuracy to compare: its students learn nothing")
    rounds = [line for line in ledger if line["kind"] == "round"]
    if lacks := next(lacking(score, rounds), None):
        again = f"run again with: qflock run {folder / 'recipe.yaml'}"
        raise InputError(f"{folder / 'rounds.jsonl'} is damaged (no {lacks}): {again}")
    try:
        recipe = load(str(folder / "recipe.yaml"))
    except RecipeError as error:
        raise InputError(f"{folder} has a recipe that cannot be read: {error}") from None
    return Outcome(
        folder,
        recipe,
        score,
        rounds,
        sum(line.get(key, 0) for line in ledger for key in ("bytes_up", "bytes_down")),
        sum(line.get("seconds", {}).get("round", 0.0) for line in ledger),
        next((line["corpus"].get("digest") for line in ledger if "corpus" in line), None),
    )


def lacking(score: Line, rounds: list[Line]) -> Iterator[str]:
    """What an `Outcome` is computed from and a ledger does not have."""
    for arm, scored in score["arms"].items():
        if scored.get("accuracy") is None:
            yield f"accuracy of the {arm}"
        if not rounds or arm not in rounds[0]["arms"]:
            yield f"first round of the {arm}"
    for line in rounds:
        for arm, part in line["arms"].items():
            yield from (f"{key} of the {arm} in round {line['round']}" for key in PART if key not in part)
            for client, said in part["clients"].items():
                missing = [key for key in VISIT if key not in said]
                yield from (f"{key} of client {client} in round {line['round']}" for key in missing)


def refuse_untaught(run: Outcome) -> None:
    """A run that should have had teachers and had none is a plain one under another name."""
    reasons = untaught(run.rounds)
    if run.recipe.teacher.kind != "none" and len(reasons) == len(newest(run.rounds)):
        raise InputError(
            f"{run.folder}: no client had a teacher ({reasons[0]}); mend that, delete the folder and run it again"
        )


def reached(ledger: list[Line]) -> int:
    """The last round in a ledger."""
    return max((int(line["round"]) for line in ledger if line["kind"] == "round"), default=0)
