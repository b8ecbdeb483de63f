"""The ClientApp: opens a message, checks that both sides mean the same recipe, answers; failures have a reason."""

import logging
import os
from collections.abc import Callable
from dataclasses import replace

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.site import allowance
from quantum.paid import HardwareError
from recipes.load import from_run_config
from recipes.node import applied, node_at
from recipes.schema import Recipe
from recipes.section import RecipeError
from strategies.messages import Assignment, Halt, Refusal, Reply
from strategies.wire import assigned, check_flower, reply

log = logging.getLogger(f"flwr.{__name__}")  # Flower shows its own loggers, and keeps what they say

LONGEST_REASON = 1000  # letters

app = ClientApp()


@app.query()
def prepare(message: Message, context: Context) -> Message:
    """Before round 1: hello, and the statistics of a feature stage."""
    return answer(message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round."""
    return answer(message, context)


@app.evaluate()
def score(message: Message, context: Context) -> Message:
    """After the last round."""
    return answer(message, context)


def answer(message: Message, context: Context) -> Message:
    """Do what the assignment says. Whatever goes wrong becomes one line for the ledger, and a traceback in this log."""
    number = int(context.node_config.get("partition-id", -1))
    try:
        check_flower("this node")
        recipe = from_run_config(context.run_config)
        return reply(visit(assigned(message), recipe, context, number), message, recipe.digest())
    except HardwareError as error:
        log.warning("client %d: %s", number, error)
        return reply(Halt(client=number, reason=one_line(error)), message, "")
    except Exception as error:  # the door between a client and the federation
        log.exception("client %d cannot do its assignment", number)
        return reply(Refusal(client=number, reason=f"{type(error).__name__}: {one_line(error)}"), message, "")


def one_line(error: Exception) -> str:
    """What an error says, as far as a ledger takes it."""
    return " ".join(str(error).split())[:LONGEST_REASON]


def visit(assignment: Assignment, recipe: Recipe, context: Context, number: int) -> Reply:
    """Check, limit the threads before anything is computed, then go to work."""
    asked = float(context.run_config.get("spend", 0))
    assignment = replace(assignment, spend_seconds=allowance(asked, recipe.clients))
    check(assignment, recipe, number, int(context.node_config.get("num-partitions", recipe.clients)))
    from quantum.threads import limit_threads

    limit_threads(recipe.threads)
    from client import round as visits  # after the limit: these import the libraries that it limits
    from client.participant import participant

    own = node_at(str(context.node_config.get("node", os.environ.get("QFLOCK_NODE", ""))), recipe)
    who = participant(applied(own, recipe).as_json(), number, own.path)
    if assignment.kind == "prepare":
        return visits.prepare(who, assignment, own.chosen())
    kinds: dict[str, Callable[..., Reply]] = {"train": visits.train, "score": visits.score}
    return kinds[assignment.kind](who, assignment)


def check(assignment: Assignment, recipe: Recipe, number: int, nodes: int) -> None:
    """Refuse an assignment that this node cannot mean the same by."""
    if assignment.recipe_digest != recipe.digest():
        raise RecipeError(
            f"the server runs recipe {assignment.recipe_digest}, this node reads {recipe.digest()} "
            f"({recipe.name}): give both the same app and recipe file"
        )
    if nodes != recipe.clients:
        raise RecipeError(
            f"the federation has {nodes} clients and the recipe {recipe.name} says clients: {recipe.clients}. "
            f"Simulate that many (flwr run . --federation-config 'num-supernodes={recipe.clients}'), "
            f"or change the recipe (--run-config 'override=\"clients={nodes}\"')"
        )
    if not 0 <= number < recipe.clients:
        raise RecipeError(
            f"this node's partition-id is {number}; start it with --node-config "
            f"'partition-id=K num-partitions={recipe.clients}', K from 0 to {recipe.clients - 1}"
        )
