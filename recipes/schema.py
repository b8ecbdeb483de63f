"""What a recipe may say: frozen sections; every field with its type, its default and the values it allows.

A section checks itself when it is made, from YAML or from Python, so an impossible recipe does not exist.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import ceil, pi
from string import ascii_letters, digits
from typing import Annotated, Any, Literal, get_args

from recipes.executor import READOUT_ERRORS, split_executor
from recipes.section import Between, RecipeError, Section, hints, refuse_changed, shown

MOST_QUBITS = 12  # of students whose whole state is computed for all rows at once
DNA = ("genomic",)  # corpora of it; `text` may be
KMER = {"tiny": 3, "lora": 6}  # teacher → letters of a word of DNA
NAME = set(ascii_letters + digits + ".-_")
EXACT_GRADIENT = 3  # evaluations that a pass of the rows with exact gradients costs; quantum/search.py says why
SLOWEST = 1e-30  # learning rate that a decay over many rounds leaves
MINIBATCHED = ("layered", "generator")  # students of thousands of numbers, which `minibatch` alone trains
UNSTAGED = ("noop", "generator")  # students that read rows as they are
TextCorpus = Literal["synthetic", "reviews", "text", "genomic", "tweets", "senti", "stega", "topic"]
ImageCorpus = Literal["digits", "fashion", "cifar10"]
IMAGES = get_args(ImageCorpus)
Grey = Literal[
    "cnn", "cnn-relu", "cnn-7", "cnn-6", "cnn-4", "cnn-shallow", "cnn-deep", "cnn-deeper", "cnn-small", "resnet"
]
Network = Literal[Grey, "digits", "digits-small", "vgg"]  # quantum/targets.py


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Which texts or images, and who holds them."""

    corpus: Literal[TextCorpus, ImageCorpus] = "synthetic"
    path: str = ""  # `text` only: a file, a folder with one file a domain, or hf:owner/name
    text_column: str = "text"
    label_column: str = "label"
    partition: Literal["iid", "domain", "shards", "dirichlet"] = "iid"
    alpha: Annotated[float, Between(0, above=True)] = 0.5  # `dirichlet`: small is skewed
    shards: Annotated[int, Between(1, 100)] = 2  # `shards`: label-sorted pieces a client holds
    rows: Annotated[int, Between(0)] = (
        0  # most rows a client keeps, 6:2:2; 0 keeps all; a given test split is never cut
    )
    reference_rows: Annotated[int, Between(10)] = 200  # of the server, never trained on; data/split.py says which
    public_rows: Annotated[int, Between(0)] = 0  # training rows that all have, without labels; for soft labels alone
    public: TextCorpus | None = None  # the corpus that these are of, if not of this one
    labelled: Annotated[float, Between(0, 1, above=True)] = 1.0  # share of the training rows that keep their labels

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.public and (self.public in ("text", self.corpus) or not self.public_rows):
            raise RecipeError(
                f"public is {self.public}; it must be another corpus than {self.corpus}, not text, and public_rows say "
                f"how many of its rows"
            )
        if self.corpus == "text" and not self.path:
            raise RecipeError("path is empty; corpus text needs a file, a folder or hf:owner/name")
        if self.corpus != "text" and self.path:
            raise RecipeError(
                f"path is {shown(self.path)}; only corpus text reads a path, {self.corpus} has its own rows"
            )


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig(Section):
    """How a text becomes one number a qubit, each in [0, 1]."""

    encoder: Literal["tfidf", "minilm", "kmers", "hidden"] = "tfidf"
    buckets: Annotated[int, Between(16, 65536)] = 1024  # `tfidf`: hashed vocabulary size
    k: Annotated[int, Between(1, 6)] = 3  # `kmers`: letters of a word of DNA
    stride: Annotated[int, Between(1, 100)] = 1  # `kmers`: letters from the start of one word to the next
    model: str = "smollm2"  # `hidden`: the untuned LLM, named as in teacher.model
    layer: Annotated[int, Between(1, 1000)] = 20  # `hidden`: the decoder layer whose output is averaged
    reduction: Literal["trained", "pca"] = "trained"
    steps: Annotated[int, Between(1, 50)] = 3  # `trained`: exchanges in which the reduction is averaged


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig(Section):
    """What writes the weights of a classical network (QFed, arXiv:2601.09809); quantum/generator.py."""

    by: Literal["circuit", "hash", "low-rank", "small", "full"] = "circuit"  # small and full train a network itself
    target: Network = "cnn"  # of every client
    targets: tuple[Network, ...] = ()  # one a client, in their order, in place of `target`
    chunk: Annotated[int, Between(1, 100_000)] = 1  # weights that one basis state writes
    blocks: Annotated[int, Between(2, 200)] = 16  # of the ring
    widths: tuple[Annotated[int, Between(1, 4096)], ...] = (4, 20, 4)  # of the mapping network's hidden layers
    activation: Literal["none", "tanh", "relu"] = "tanh"  # of those; the best of recipe qfed-mapping
    spread: Annotated[float, Between(0.01, pi)] = pi  # angles begin evenly between −spread and spread
    gain: Annotated[float, Between(0, above=True)] = 30.0  # of the learned feature, which then weighs as bits do
    pace: Annotated[float, Between(0, 1, above=True)] = 0.3  # share of the learning rate at which β learns

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.targets and self.by in ("small", "full"):
            raise RecipeError(
                f"targets names networks, and by is {self.by}, which averages their weights themselves: networks of "
                f"different shapes have no average"
            )
        if self.targets:
            refuse_changed(self, "targets stands in place of", "target")

    def named(self) -> tuple[Network, ...]:
        """Every network that a client may have, once."""
        return tuple(dict.fromkeys(self.targets or (self.target,)))


PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")  # a character beyond U+FFFF, in JSON
AT_FIRST = GeneratorConfig(activation="none")  # the defaults until qfed-mapping was measured; old runs wrote them down


@dataclass(frozen=True, kw_only=True)
class StudentConfig(Section):
    """The small model every client trains, and whether its classical twin trains beside it."""

    kind: Literal["vqc", "qcnn", "reupload", "layered", "generator", "noop"] = "vqc"
    readout: Literal["parity", "softmax", "dense"] = "parity"  # over the qubits that are read; dense is trained
    qubits: Annotated[int, Between(2, 16)] = 4
    feature_map: Literal["ry", "z", "zz"] = "ry"
    scale: Annotated[float, Between(0, above=True)] = pi  # features in [0, 1] become angles in [0, scale]
    angles: Literal["shifted", "tanh", "minmax"] = "shifted"  # `layered`: how the dense layer's outputs turn qubits
    reps: Annotated[int, Between(1, 20)] = 3  # not of a qcnn, whose layers follow from its qubits
    entanglement: Literal["linear", "reverse_linear", "circular", "full"] = "reverse_linear"  # not of a qcnn
    twin: bool = True
    size: Annotated[int, Between(1)] = 1497  # `noop`: how many numbers travel
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)  # `generator`

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.kind == "generator":
            unread = set(hints(StudentConfig)) - {"kind", "twin", "generator"}
            refuse_changed(self, "a generator has no", *unread)
            if self.twin and self.generator.by != "circuit":
                raise RecipeError(
                    f"twin is true; a generator by {self.generator.by} is a control itself: set student.twin to false"
                )
        elif self.generator == AT_FIRST:
            object.__setattr__(self, "generator", GeneratorConfig())
        elif self.generator != GeneratorConfig():
            raise RecipeError(f"generator is set; a {self.kind} student has none: leave it out")
        if self.kind == "noop" and self.twin:
            raise RecipeError(
                "twin is true; a noop student learns nothing, so it has no twin: set student.twin to false"
            )
        if self.kind == "qcnn":
            refuse_changed(self, "a qcnn has no", "reps", "entanglement")
        if self.kind == "layered":
            self._check_layered()
            return
        refuse_changed(self, f"a {self.kind} has no", "angles")
        if self.readout == "dense":
            raise RecipeError(f"readout is dense; a {self.kind} has no dense layers: use parity or softmax")
        if self.qubits > MOST_QUBITS:
            raise RecipeError(f"qubits is {self.qubits}; a {self.kind} has at most {MOST_QUBITS}")

    def _check_layered(self) -> None:
        """It reads the encoder's columns themselves, and its circuit is as published."""
        refuse_changed(self, "a layered student has no", "feature_map", "scale")
        if self.readout == "parity":
            raise RecipeError("readout is parity; a layered student is read by ⟨Z⟩: use dense or softmax")
        if self.entanglement not in ("circular", "linear"):
            raise RecipeError(
                f"entanglement is {self.entanglement}; a layered student has a ring or a chain of CNOT: use circular "
                f"or linear"
            )


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig(Section):
    """How a student is trained in one visit, within a budget of objective evaluations."""

    kind: Literal["cobyla", "spsa", "adam", "shift", "minibatch"] = "cobyla"  # shift: adam on gradients out of circuits
    maxiter: Annotated[int, Between(1, 100000)] = 30  # evaluations in the first round; quantum/search.py counts them
    rhobeg: Annotated[float, Between(0, above=True)] = 0.3  # `cobyla`: first step, radians or units of a weight
    a: Annotated[float, Between(0, above=True)] = 2.0  # `spsa`: gain of the first step
    c: Annotated[float, Between(0, above=True)] = 0.2  # `spsa`: how far its two points lie from the centre
    learning_rate: Annotated[float, Between(0, above=True)] = 0.2  # `adam`, `shift` and `minibatch`
    epochs: Annotated[int, Between(1, 10000)] = 1  # `minibatch`: passes of the rows in the first round, for a maxiter
    batch: Annotated[int, Between(1, 1_000_000)] = 128  # `minibatch`: rows a step
    decay: Annotated[float, Between(0.01, 1)] = 1.0  # `minibatch`: of the learning rate, a round

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        read = OPTIMISER_READS.get(self.kind, {"maxiter", "learning_rate"})
        every = set(hints(OptimiserConfig)) - {"kind"}
        refuse_changed(self, f"{self.kind} does not read", *(every - read))

    @property
    def budget(self) -> int:
        """Evaluations in the first round; an epoch is a pass with gradients."""
        return EXACT_GRADIENT * self.epochs if self.kind == "minibatch" else self.maxiter

    def at(self, number: int) -> "OptimiserConfig":
        """The same in a round: η_t = η·decay^(t − 1)."""
        rate = self.learning_rate * self.decay ** (number - 1)
        return replace(self, learning_rate=max(rate, SLOWEST)) if self.decay < 1 else self


OPTIMISER_READS = {
    "cobyla": {"maxiter", "rhobeg"},
    "spsa": {"maxiter", "a", "c"},
    "minibatch": {"epochs", "batch", "learning_rate", "decay"},
}


@dataclass(frozen=True, kw_only=True)
class DistilConfig(Section):
    """What a fit minimises: ν·CE + λ·KL(teacher‖student; T) + κ·JS + μ/2·‖θ − θ_global‖².

    T softens both sides of the KL; there is no factor T² before it, as quantum/guidance.py says.
    """

    labels: Annotated[float, Between(0)] = 1.0  # ν
    weight: Annotated[float, Between(0)] = 0.0  # λ
    shannon: Annotated[float, Between(0)] = 0.0  # κ
    temperature: Annotated[float, Between(0, above=True)] = 2.0  # T
    proximal: Annotated[float, Between(0)] = 0.0  # μ

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if not (self.labels or self.teaches):
            raise RecipeError("labels, weight and shannon are 0; a fit needs labels or a teacher to learn from")

    @property
    def teaches(self) -> bool:
        """Whether a teacher's soft labels are in it."""
        return self.weight > 0 or self.shannon > 0


@dataclass(frozen=True, kw_only=True)
class HardwareConfig(Section):
    """How jobs run on IBM's QPUs; only for the executors ibm and ibm-local."""

    mode: Literal["job", "batch"] = "job"  # each job queues for itself, or all of a visit in one batch
    decoupling: Literal["none", "XX", "XpXm", "XY4"] = "none"  # pulses on idle qubits
    twirling: Literal["none", "gates", "measure", "both"] = "none"  # random Paulis that average errors
    queue_seconds: Annotated[float, Between(0, above=True)] = 900.0  # a job queued for longer pauses the run


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Section):
    """The model a client tunes and measures its student against."""

    kind: Literal["tiny", "lora", "none"] = "tiny"
    federate: Literal["none", "average", "ffa", "exact"] = "none"  # how adapters are averaged; strategies/adapters.py
    rounds: Annotated[int, Between(1)] = 1  # in how many of the first rounds clients tune and send; if federated
    merged_rank: Annotated[int, Between(0, 4096)] = 0  # `exact`: most ranks of the averaged adapter; 0 keeps all
    kmer: Annotated[int, Between(0, 100)] | None = (
        None  # letters of the words that it reads DNA in, 0: as it stands; None: KMER
    )
    stride: Annotated[int, Between(1, 100)] | None = None  # letters to the next word; None: 1, but kmer for an LLM
    model: str = (
        "smollm2"  # `lora`, as all that follows: the embedded LLM, a hub id, or a folder that begins with / . or ~
    )
    rank: Annotated[int, Between(1, 1024)] = 8
    alpha: Annotated[float, Between(0, above=True)] = 16.0  # the adapter's share is alpha / rank
    dropout: Annotated[float, Between(0, 0.9)] = 0.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")  # modules of a layer
    layers: Annotated[int, Between(0, 1000)] = 8  # that are adapted, counted from the top; 0 is all
    epochs: Annotated[int, Between(1, 1000)] = 2
    rate: Annotated[float, Between(0, above=True)] = 5e-4
    batch: Annotated[int, Between(1, 4096)] = 8
    max_tokens: Annotated[int, Between(1, 1_000_000)] = 256  # the rest of a text is cut
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the machine is fast with it
    quantised: bool = False  # 4-bit weights (QLoRA); needs CUDA and bitsandbytes

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if not self.model:
            raise RecipeError("model is empty; it must be smollm2, a hub id, or a folder that begins with / . or ~")
        if self.kind == "none" and self.federate != "none":
            raise RecipeError(f"federate is {self.federate}; there is no teacher to federate: leave it out")
        if not self.targets or "" in self.targets or len(set(self.targets)) < len(self.targets):
            raise RecipeError(
                f"targets is {shown(list(self.targets))}; it must name each module once, and at least one"
            )
        if not self.kmer and self.kmer is not None:
            refuse_changed(self, "kmer 0 has no", "stride")
        if self.federate == "none":
            refuse_changed(self, "a teacher that is not federated is tuned once and has no", "rounds")
        if self.federate != "exact":
            refuse_changed(self, f"federate {self.federate} does not read", "merged_rank")

    def tunes(self, number: int) -> bool:
        """Whether clients tune and send their teachers in a round."""
        return self.federate != "none" and number <= self.rounds


@dataclass(frozen=True, kw_only=True)
class RegulateConfig(Section):
    """How the teacher's loss moves the student's maxiter (LLM-QFL, arXiv:2505.18656)."""

    law: Literal["none", "incremental", "dynamic", "logarithmic", "adaptive", "hybrid", "twoway"] = "none"
    cap: Annotated[int, Between(1, 100000)] = 100
    step_cap: Annotated[int, Between(1, 100000)] = 100  # `hybrid`: most evaluations added a round


@dataclass(frozen=True, kw_only=True)
class SelectConfig(Section):
    """Which clients train (`invite`) or whose updates enter the average (`admit`)."""

    by: Literal["everyone", "uniform", "alignment", "power-of-choice"] = "everyone"
    rules: Literal["admit", "invite"] = "admit"
    percent: Annotated[float, Between(0, 100, above=True)] = 50.0  # share kept, at least one; not for everyone
    reference: Literal["server", "clients"] = "server"  # `alignment`: whose loss the clients are compared with
    candidates: Annotated[float, Between(0, 100, above=True)] = 100.0  # `power-of-choice`: share that may be kept

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.by != "power-of-choice":
            refuse_changed(self, f"{self.by} does not read", "candidates")
        elif self.candidates < self.percent:
            raise RecipeError(
                f"candidates is {self.candidates:g}; it must be at least percent, which is {self.percent:g}"
            )

    def takes(self, clients: int) -> int:
        """How many of so many clients the rule takes: ⌈percent % of them⌉, so at least one."""
        return clients if self.by == "everyone" else ceil(clients * self.percent / 100)

    def looks_at(self, clients: int) -> int:
        """d of power-of-choice: ⌈candidates % of them⌉."""
        return ceil(clients * self.candidates / 100)


@dataclass(frozen=True, kw_only=True)
class AggregateConfig(Section):
    """How admitted updates become the next global arrays; all but the first three expect that some clients lie."""

    by: Literal["fedavg", "fedexp", "feddf", "clipped", "median", "trimmed", "krum"] = "fedavg"
    tau: Annotated[float, Between(0)] = 0.0  # `fedavg`: how fast a client loses weight as it leaves its teacher
    mean: Literal["line", "circular"] = "line"  # `fedavg`: of angles, each with its own period
    epochs: Annotated[int, Between(1, 1000)] = 3  # `feddf`: passes of the public rows in which the server distils
    bound: Annotated[float, Between(0, above=True)] | None = None  # `clipped`: longest update; None: the median length
    share: Annotated[float, Between(0, 0.5)] = 0.2  # `trimmed`: of the values, left out at either end
    liars: Annotated[int, Between(0, 498)] = 1  # `krum`: how many clients may lie
    kept: Annotated[int, Between(1, 998)] = 1  # `krum`: how many updates are averaged

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.by != "fedavg":
            refuse_changed(self, f"{self.by} does not read", "tau", "mean")
        if self.by != "feddf":
            refuse_changed(self, f"{self.by} does not read", "epochs")

    def fewest(self) -> int:
        """Updates without which the rule promises nothing."""
        return max(2 * self.liars + 3, self.liars + 2 + self.kept) if self.by == "krum" else 1


@dataclass(frozen=True, kw_only=True)
class StopConfig(Section):
    """Stop once |ΔL| / L < epsilon, or L_student − L_teacher ≤ delta, has held for `patience` rounds."""

    epsilon: Annotated[float, Between(0)] = 0.0  # 0 never holds
    delta: Annotated[float, Between(0)] | None = None  # nats; null never holds
    patience: Annotated[int, Between(1, 1000)] = 2


@dataclass(frozen=True, kw_only=True)
class NodesConfig(Section):
    """What a node may choose for itself, in a file of its own; recipes/node.py."""

    classes: tuple[str, ...] = ()  # of rows of its own, as numbered; none: it has no such rows. Corpus text
    executors: tuple[str, ...] = ()  # that may run its circuits, beside `executor`
    ranks: tuple[Annotated[int, Between(1, 1024)], ...] = ()  # that its adapter may have, beside `teacher.rank`

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if self.classes and len(set(self.classes)) < max(2, len(self.classes)):
            raise RecipeError(f"classes is {shown(list(self.classes))}; it must name two classes or more, each once")


@dataclass(frozen=True, kw_only=True)
class Recipe(Section):
    """Everything a run depends on. Two runs of one recipe and one seed write the same ledger."""

    name: str = "unnamed"
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    rounds: Annotated[int, Between(1, 10000)] = 5
    clients: Annotated[int, Between(1, 1000)] = 5
    threads: Annotated[int, Between(1, 256)] = 1  # per process; another count gives other bits
    executor: str = "exact"  # what runs the circuits of a fit: a word of EXECUTORS
    scored_by: Literal["exact", "executor"] = "exact"  # what runs those of the final scores; other losses are exact
    shots: Annotated[int, Between(1, 10_000_000)] = 1024  # a row; `exact` takes none
    mitigate: bool = False  # undo read-out errors; for executors that have them
    min_reports: Annotated[int, Between(1, 1000)] = 2  # fewer usable reports end the run
    deadline_seconds: Annotated[float, Between(0, above=True)] | None = None  # of a visit; None: PATIENCE
    on_loss: Literal["continue", "repeat"] = "continue"  # a node that dies in a round: go on without it, or ask again
    trackers: tuple[Literal["tensorboard", "mlflow"], ...] = field(default=(), compare=False)  # moves no number
    data: DataConfig = field(default_factory=DataConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    distil: DistilConfig = field(default_factory=DistilConfig)
    regulate: RegulateConfig = field(default_factory=RegulateConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    aggregate: AggregateConfig = field(default_factory=AggregateConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    nodes: NodesConfig = field(default_factory=NodesConfig)

    def __post_init__(self) -> None:
        Section.__post_init__(self)
        if not self.name or set(self.name) - NAME:
            raise RecipeError(
                f"name is {shown(self.name)}; it must be letters, digits, dots, - and _: it names the run folder"
            )
        self._check_executor()
        self._check_noop()
        self._check_minibatch()
        self._check_public()
        self._check_words()
        self._check_teacher()
        self._check_images()
        self._check_nodes()
        if self.teacher.rounds > self.rounds:
            raise RecipeError(
                f"teacher.rounds is {self.teacher.rounds}; it must be at most rounds, which is {self.rounds}"
            )
        if self.min_reports > self.clients:
            raise RecipeError(f"min_reports is {self.min_reports}; it must be at most clients, which is {self.clients}")
        fewest, entering = self.aggregate.fewest(), self.select.takes(self.clients)
        if entering < fewest:
            raise RecipeError(
                f"aggregate.by is {self.aggregate.by}; with liars {self.aggregate.liars} and kept "
                f"{self.aggregate.kept} it needs {fewest} updates, and {entering} of {self.clients} clients enter the "
                f"average: use more clients or lower these two"
            )

    def _check_executor(self) -> None:
        kind, _ = split_executor(self.executor)
        if self.mitigate and kind not in READOUT_ERRORS:
            raise RecipeError(f"mitigate is true; executor {kind} makes no read-out errors: set mitigate to false")
        if kind not in ("ibm", "ibm-local"):
            try:
                refuse_changed(self.hardware, f"executor {kind} has no", *hints(HardwareConfig))
            except RecipeError as error:
                raise RecipeError(f"hardware.{error}") from None
        if kind != "exact" and (self.optimiser.kind == "adam" or self.student.kind == "layered"):
            instead = "use shift, spsa or cobyla" if self.optimiser.kind == "adam" else "leave executor out"
            raise RecipeError(
                f"optimiser.kind is {self.optimiser.kind}; its gradients are exact and executor {self.executor} has "
                f"none: {instead}"
            )
        if kind == "exact" and self.scored_by == "executor":
            raise RecipeError("scored_by is executor, which is exact already: leave it out")

    def _check_noop(self) -> None:
        if self.student.kind != "noop":
            return
        if self.executor != "exact":
            raise RecipeError(f"executor is {shown(self.executor)}; a noop student runs no circuits: leave it out")
        if self.aggregate.mean == "circular":
            raise RecipeError("aggregate.mean is circular; a noop student has no angles: leave it out")
        if self.distil.teaches or self.distil.proximal:
            raise RecipeError("distil has a weight or a proximal; a noop student learns nothing: leave them out")

    def _check_minibatch(self) -> None:
        if self.student.kind in MINIBATCHED and self.optimiser.kind != "minibatch":
            raise RecipeError(
                f"optimiser.kind is {self.optimiser.kind}; a {self.student.kind} student is trained by minibatch alone"
            )
        if self.optimiser.kind == "minibatch" and self.student.kind not in MINIBATCHED:
            raise RecipeError(
                f"optimiser.kind is minibatch; a {self.student.kind} student is trained on all its rows at once: "
                f"use cobyla, spsa, adam or shift"
            )

    def _check_words(self) -> None:
        t, corpus = self.teacher, self.data.corpus
        if corpus not in (*DNA, "text"):
            try:
                refuse_changed(t, f"{corpus} is text, which has no", "kmer", "stride")
            except RecipeError as error:
                raise RecipeError(f"teacher.{error}") from None
        if corpus == "text" and t.kmer is None and t.stride is not None:
            raise RecipeError(f"teacher.stride is {t.stride}; without kmer a text is read as it stands: leave it out")
        if corpus in DNA and t.kind == "tiny" and t.kmer == 0:
            raise RecipeError(
                f"teacher.kmer is 0; a tiny teacher counts words, and a row of {corpus} is a single one: leave it out"
            )

    def words(self) -> tuple[int, int]:
        """k and stride of the words that its teacher reads DNA in; k is 0 where a row is read as it stands.

        An LLM pays for every token, SmolLM2 for 200 letters 112 in words of 6 side by side, 662 in all words of 6.
        """
        t = self.teacher
        k = t.kmer if t.kmer is not None else KMER.get(t.kind, 0) if self.data.corpus in DNA else 0
        return k, t.stride or (k if k and t.kind == "lora" else 1)

    def _check_teacher(self) -> None:
        if self.teacher.kind != "none":
            return
        asked = {
            "distil.weight": self.distil.weight,
            "distil.shannon": self.distil.shannon,
            "aggregate.tau": self.aggregate.tau,
            "stop.delta": self.stop.delta,
            "regulate.law": self.regulate.law if self.regulate.law != "none" else 0,
        }
        for key, value in asked.items():
            if value:
                raise RecipeError(f"{key} is {value}; it asks a teacher, and teacher.kind is none: leave it out")

    def _check_images(self) -> None:
        images, kind, generator = self.data.corpus in IMAGES, self.student.kind, self.student.generator
        if images != (kind == "generator") and kind != "noop":
            rows, readers = ("images", "generator and noop") if images else ("texts", "all but generator")
            raise RecipeError(
                f"student.kind is {kind}; corpus {self.data.corpus} holds {rows}, which these students read: {readers}"
            )
        if images and self.teacher.kind != "none":
            raise RecipeError(f"teacher.kind is {self.teacher.kind}, which reads texts; with images it must be none")
        if images and self.features != FeaturesConfig():
            raise RecipeError("features is set; a student of images reads their pixels: leave it out")
        if kind == "generator" and self.executor != "exact":
            raise RecipeError(
                f"executor is {shown(self.executor)}; a generator is trained exactly: leave it out, then try the "
                f"trained one under noise with qflock noise"
            )
        if kind == "generator" and generator.by != "circuit" and self.aggregate.mean == "circular":
            raise RecipeError(f"aggregate.mean is circular; a generator by {generator.by} has no angles: leave it out")
        if generator.targets and len(generator.targets) != self.clients:
            raise RecipeError(
                f"student.generator.targets names {len(generator.targets)} networks for {self.clients} clients; "
                f"name one for each client, or one for all with student.generator.target"
            )
        if self.data.corpus in ("fashion", "cifar10"):
            decided = {"stop.epsilon": self.stop.epsilon, "select.by": self.select.by == "alignment"}
            for key, by_test in decided.items():
                if by_test and not (key == "select.by" and self.select.reference == "clients"):
                    advice = ", or set select.reference to clients" if key == "select.by" else ""
                    raise RecipeError(
                        f"{key} would decide by the server's rows, which are the test set of {self.data.corpus}: "
                        f"leave it out{advice}"
                    )

    def _check_public(self) -> None:
        if self.aggregate.by == "feddf" and not (self.data.public_rows and self.student.kind == "layered"):
            raise RecipeError(
                "aggregate.by is feddf; the server distils the clients' layered students on public texts: set "
                "data.public_rows, and student.kind to layered"
            )
        if self.data.public_rows and not (self.distil.teaches or self.aggregate.by == "feddf"):
            raise RecipeError(
                f"data.public_rows is {self.data.public_rows}; only soft labels teach such rows: give distil a weight "
                f"or shannon, set aggregate.by to feddf, or leave it out"
            )

    def _check_nodes(self) -> None:
        nodes, teacher = self.nodes, self.teacher
        if nodes.classes and self.data.corpus != "text":
            raise RecipeError(
                f"nodes.classes is set; only with corpus text has a node rows of its own, not with {self.data.corpus}"
            )
        if nodes.classes and self.data.public_rows and not self.data.public:
            raise RecipeError(
                "data.public_rows are rows of data.path, which a node with rows of its own does not have: name another "
                "corpus with data.public"
            )
        if nodes.ranks and teacher.kind != "lora":
            raise RecipeError(f"nodes.ranks is set; a teacher of kind {teacher.kind} has no rank: leave it out")
        if nodes.ranks and teacher.federate not in ("none", "exact"):
            raise RecipeError(
                f"nodes.ranks is {shown(list(nodes.ranks))}; under {teacher.federate}, adapters of different ranks "
                f"have no mean: set teacher.federate to exact, or leave nodes.ranks out"
            )
        for word in nodes.executors:
            try:
                paid = replace(self, executor=word, nodes=NodesConfig()).paid()
            except RecipeError as error:
                raise RecipeError(f"nodes.executors names {word}: {error}") from None
            if paid:
                raise RecipeError(f"nodes.executors names {word}, which costs money: only a recipe's executor may")

    def paid(self) -> bool:
        """Whether its circuits run on hardware that is paid for."""
        return split_executor(self.executor)[0] == "ibm"

    def as_json(self) -> str:
        """The whole recipe on one line; also valid YAML, and what travels inside a Flower run."""
        return self._json

    @cached_property
    def _json(self) -> str:
        said = json.dumps(asdict(self), sort_keys=True)
        # YAML, as which it is read, takes the two escapes that JSON writes for one of these as two halves
        return PAIR.sub(lambda halves: str(json.loads(f'"{halves[0]}"')), said)

    def digest(self) -> str:
        """Twelve hex digits that name this recipe; a client refuses an assignment that carries another.

        Of the values that are not those that were the defaults first, so that neither a key which is added later nor
        another default gives a run another name; trackers move no number, so they are none of its business.
        """
        first = asdict(Recipe())
        if self.student.kind == "generator":
            first["student"]["generator"] = asdict(AT_FIRST)
        changed = json.dumps(unlike(asdict(replace(self, trackers=())), first), sort_keys=True)
        return hashlib.sha256(changed.encode()).hexdigest()[:12]


def unlike(values: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """The values that differ, group by group."""
    found = {}
    for key, value in values.items():
        here = unlike(value, others[key]) if isinstance(value, dict) else value
        if here != ({} if isinstance(value, dict) else others[key]):
            found[key] = here
    return found
