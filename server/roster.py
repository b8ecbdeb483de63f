"""Which Flower node is which client: every node is asked once, and a client may come back on a new one."""

import time
from collections.abc import Callable
from typing import Any

from flwr.serverapp import Grid

from recipes.schema import Recipe
from server.ledger import Line
from strategies.exchange import hear, visit
from strategies.failure import RunFailedError
from strategies.faults import uncounted
from strategies.messages import Answer, Assignment, Counts, Refusal
from strategies.wire import assign, parcel

JOIN_SECONDS = 60.0  # for nodes that are still starting
HELLO_SECONDS = 300.0  # a client reads its corpus, and may have to fetch it
QUIET_SECONDS, LOOK_SECONDS = 3.0, 0.1
NOBODY = (
    f"no node joined within {JOIN_SECONDS:.0f} s; what keeps one out, such as another address, no TLS or a key that is "
    f"not registered, its own log says"
)


class Roster:
    """`nodes`: client → Flower node, ascending by client."""

    def __init__(self, grid: Grid, recipe: Recipe, run: str, corpus: dict[str, Any], most_bytes: int) -> None:
        self.grid, self.recipe, self.corpus, self.most_bytes = grid, recipe, corpus, most_bytes
        self.hello = Assignment(
            kind="prepare",
            run=run,
            recipe_digest=recipe.digest(),
            most_bytes=most_bytes,
            corpus_digest=corpus["digest"],
        )
        self.nodes: dict[int, int] = {}
        self.clients: dict[int, int] = {}  # node → client, of nodes that have gone too
        self.holds: dict[int, Counts] = {}  # client → its rows, as it counts them
        self.chosen: dict[int, dict[str, str]] = {}  # client → what its node chose for itself
        self.refusals: dict[int, str] = {}  # by node
        self.refused: dict[int, int] = {}  # node → client, where a refusal says which

    def meet(self, record: Callable[[Line], None]) -> None:
        """Until all clients are there, or everyone has refused, or a minute is over; too few clients end the run."""
        began = news = time.monotonic()
        n_clients = self.recipe.clients
        while time.monotonic() < began + JOIN_SECONDS and len(self.nodes) < n_clients:
            news = time.monotonic() if self.ask_newcomers(returning=False) else news
            refusing = self.refusals.keys() & set(
                self.grid.get_node_ids()
            )  # one that has died may come back as another
            if len(refusing) + len(self.nodes) >= n_clients:
                break
            if refusing and not self.nodes and time.monotonic() > news + QUIET_SECONDS:
                break  # all have refused, and nobody else comes
            time.sleep(LOOK_SECONDS)
        others = "; ".join(sorted(set(self.refusals.values()))) or NOBODY
        known = {client: self.refusals[node] for node, client in self.refused.items()}
        failed = {client: known.get(client, others) for client in range(n_clients) if client not in self.nodes}
        line: Line = {"kind": "prepare", "stage": "", "clients": sorted(self.nodes), "failed": failed}
        line["holds"] = dict(sorted(self.holds.items()))
        line |= {"nodes": dict(sorted(self.chosen.items()))} if self.chosen else {}
        line["corpus"] = self.corpus
        record(line | {"seconds": {"round": time.monotonic() - began}})
        if len(self.nodes) < self.recipe.min_reports:
            client, why = next(iter(failed.items()))
            raise RunFailedError(f"{len(self.nodes)} of {n_clients} clients can take part; client {client}: {why}")

    def rejoin(self, lost: set[int]) -> None:
        """Ask newcomers; where clients are lost, wait for their nodes to come back, at most a minute.

        A node with a key of its own comes back as the node it was, any other as a new one.
        """
        before = {client: self.nodes[client] for client in lost}
        gone: set[int] = set()
        end = time.monotonic() + JOIN_SECONDS
        while True:
            online = set(self.grid.get_node_ids())
            gone |= set(before.values()) - online
            self.ask_newcomers(returning=True)
            waiting = [c for c, node in before.items() if self.nodes[c] == node and node not in gone & online]
            if not waiting or time.monotonic() > end:
                break
            time.sleep(LOOK_SECONDS)

    def ask_newcomers(self, *, returning: bool) -> bool:
        """Hello to nodes that were not asked yet; with `returning`, a client's newest node is the one that counts."""
        new = sorted(set(self.grid.get_node_ids()) - self.refusals.keys() - self.clients.keys())
        messages = [assign(self.hello, node, parcel({}, {})) for node in new]
        seconds = self.recipe.deadline_seconds or HELLO_SECONDS
        for node, reply in zip(new, visit(self.grid, messages, seconds), strict=True):
            said = hear(reply, self.hello.recipe_digest, self.most_bytes)
            if isinstance(said, Answer) and (fault := uncounted(said.holds)):
                self.refusals[node] = fault
                self.refused[node] = said.client
            elif isinstance(said, Answer) and (returning or said.client not in self.nodes):
                self.nodes[said.client], self.clients[node] = node, said.client
                self.holds[said.client] = said.holds
                self.chosen |= {said.client: said.chosen} if said.chosen else {}
            elif isinstance(said, Refusal):
                self.refusals[node] = said.reason
                self.refused |= {node: said.client} if said.client >= 0 else {}
            else:
                self.refusals[node] = "answers as a client that another node already is: give each its own partition-id"
        self.nodes = dict(sorted(self.nodes.items()))
        return bool(new)
