"""What the tests share: no network, a memory of their own, and a Flower grid whose clients live in this process."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "FLWR_TELEMETRY_ENABLED": "0"}  # read when Flower is imported

import random
import signal
from itertools import count

import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import settings

# A shell's background job ignores Ctrl-C, and so would all that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

FIRST_NODE = 1000  # nodes are numbered down from here, so their order is not the order of the clients


class FakeGrid(Grid):
    """Flower's grid: `answer(client, message)` gives a reply, an Error, or None for a client that stays silent.

    A pull brings one reply, whichever the shuffle says, as a network would.
    """

    def __init__(self, answer, clients, shuffle=0, numbers=None):
        self.answer, self.random = answer, random.Random(shuffle)
        self.clients = dict(enumerate(range(clients) if numbers is None else numbers))
        self.clients = {FIRST_NODE - place: client for place, client in self.clients.items()}
        self.ready: dict[str, Message] = {}
        self.sent: list[Message] = []
        self.ids = count()

    def set_run(self, run):
        raise NotImplementedError

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, *args, **keys):
        raise NotImplementedError

    def send_and_receive(self, *args, **keys):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.clients)

    def push_messages(self, messages):
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"message-{next(self.ids)}"  # as Flower's own grids do
            ids.append(message.metadata.message_id)
            self.sent.append(message)
            said = self.answer(self.clients[message.metadata.dst_node_id], message)
            if said is not None:
                said = Message(said, reply_to=message) if isinstance(said, Error) else said
                self.ready[message.metadata.message_id] = said
        return ids

    def pull_messages(self, message_ids):
        if None in message_ids:
            raise TypeError("bad argument type for built-in operation")  # what protobuf says in Flower's own grid
        here = [one for one in message_ids if one in self.ready]
        return [self.ready.pop(self.random.choice(here))] if here else []


class RealClients:
    """The app's own ClientApp, called as a node would call it; `act` may answer in its place."""

    def __init__(self, run_config, clients, act=None, nodes=None):
        self.run_config, self.clients, self.act, self.nodes = run_config, clients, act, nodes or {}

    def __call__(self, client, message):
        from client.app import app

        if self.act and (said := self.act(client, message)) is not None:
            return said
        node = {"partition-id": client, "num-partitions": self.clients}
        node |= {"node": str(self.nodes[client])} if client in self.nodes else {}
        context = Context(
            run_id=1,
            node_id=message.metadata.dst_node_id,
            node_config=node,
            state=RecordDict(),
            run_config=self.run_config,
        )
        return app(message, context)


def whole_run(run_config, clients, shuffle=0, act=None, nodes=None):
    """The ServerApp against the ClientApp, all in this process; the run's folder is $QFLOCK_RUN.

    `nodes`: client → its node.yaml.
    """
    from server.app import app

    grid = FakeGrid(RealClients(run_config, clients, act, nodes), clients, shuffle)
    app(grid, Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=run_config))
    return grid


WORDS = ("good", "fine", "great", "happy", "bad", "awful", "sad", "poor", "table", "chair", "desk", "lamp")
TINY = {"num_hidden_layers": 4, "num_attention_heads": 4, "hidden_size": 32, "vocab_size": 14, "eos_token_id": 1}
FAMILIES = {  # a tiny config of each; `layer_types` makes every layer of gemma3 look at its own number
    "llama": {"intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 64},
    "gpt2": {"max_position_embeddings": 64},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 16, "max_position_embeddings": 64},
    "bloom": {},
    "gemma3_text": {
        **{"intermediate_size": 64, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 2},
        **{"layer_types": ["sliding_attention", "full_attention"] * 2, "max_position_embeddings": 64},
    },
}


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory):
    """`tiny_llm(family, seed)`: the folder of a random LLM that knows twelve words; its padding is its end of text."""
    made = {}

    def make(family="llama", seed=0):
        if (family, seed) in made:
            return made[family, seed]
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

        words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["?", "<end>", *WORDS])}, unk_token="?"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        special = {"unk_token": "?", "eos_token": "<end>", "pad_token": "<end>", "padding_side": "left"}
        folder = tmp_path_factory.mktemp(family)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = AutoConfig.for_model(family, **TINY, bos_token_id=1, pad_token_id=1, **FAMILIES[family])
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
        return made.setdefault((family, seed), folder)

    return make


@pytest.fixture(scope="session", autouse=True)
def _identity():
    """Flower's messages ask which task makes them."""
    before = TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    yield
    TaskIdentity._run_id, TaskIdentity._node_id, TaskIdentity._task_id = before


@pytest.fixture
def grid_of(monkeypatch):
    """FakeGrid, and no pause between two pulls."""
    monkeypatch.setattr("strategies.exchange.POLL_SECONDS", 0.001)
    return FakeGrid


@pytest.fixture
def run_here(monkeypatch, tmp_path):
    """`run_here(name, run_config, clients, …)`: a whole run in this process; its folder is tmp_path/name."""
    from client.participant import participant

    monkeypatch.setattr("strategies.exchange.POLL_SECONDS", 0.001)

    def run(name, run_config, clients, shuffle=0, act=None, nodes=None):
        folder = tmp_path / name
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("QFLOCK_RUN", str(folder))
        monkeypatch.setenv("QFLOCK_MEMORY", str(folder / "memory"))
        participant.cache_clear()  # as in a new process
        whole_run(run_config, clients, shuffle, act, nodes)
        return folder

    return run


@pytest.fixture
def run_of():
    """`run_of(folder, recipe, {arm: accuracy}, …)`: a run folder as a finished run leaves it, without running."""
    from server.folder import as_yaml
    from server.ledger import Ledger

    def write(folder, recipe, accuracies=None, rounds=3, end="completed", parameters=16, **clients):
        accuracies = accuracies or {"student": 0.8, "twin": 0.7}
        folder.mkdir(parents=True)
        (folder / "recipe.yaml").write_text(as_yaml(recipe))
        (folder / "environment.json").write_text('{"qflock": "0.1.0 abc", "packages": {}}')
        ledger = Ledger(folder)
        ledger.append({"kind": "prepare", "bytes_up": 10, "bytes_down": 20, "seconds": {"round": 1.0}})
        for number in range(1, rounds + 1):
            client = {"evaluations": 7, "shots": 0, "rho": 0.0, "teacher_loss": 0.5} | {
                key: of(number) for key, of in clients.items()
            }
            arm = {
                "reference_loss": 1 / number,
                "reference_accuracy": 0.5,
                "clients": {"0": client},
                "parameters": parameters,
            }
            arms = dict.fromkeys(accuracies, arm)
            said = {"bytes_up": 1, "bytes_down": 2, "seconds": {"round": 0.5}}
            ledger.append({"kind": "round", "round": number, "arms": arms} | said)
        if end == "completed":
            arms = {name: {"accuracy": accuracy, "f1": accuracy} for name, accuracy in accuracies.items()}
            score = {"kind": "score", "arms": arms, "majority": 0.5, "logistic": 0.75, "seconds": {}}
            ledger.append(score)
        if end:
            ledger.append({"kind": "end", "state": end, "reason": "as the test says", "seconds": {}})
        return folder

    return write


@pytest.fixture
def told(capsys, monkeypatch):
    """`told(words…)`: (exit code, what the command says)."""
    from server.cli import main

    def say(*words):
        monkeypatch.setattr("sys.argv", ["qflock", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out + said.err

    return say
