"""The tables of both README files, written from bench/results/*.json: `python -m bench.tables`, or `make tables`.

A table stands between `<!-- table: NAME -->` and `<!-- /table -->`, and NAME.json holds its numbers. Every file has its
place in one of the two: short ones in README.md, long ones in bench/README.md. DIGESTS are drawn of several files.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import (
    ablation,
    containers,
    deployed,
    distill,
    distillation,
    engine,
    executors,
    faults,
    federation,
    gradients,
    kills,
    llm_qfl,
    noisy,
    plateau,
    poisoning,
    printed,
    processes,
    qdllm,
    qfed,
    qfed_noise,
    qfed_study,
    report,
    reviews,
    sensitivity,
    startup,
    systems,
    teacher,
    teachers,
)
from recipes.section import InputError
from server.effects import table as parts
from server.tables import markdown
from server.verify import verify

BENCH = Path(__file__).parent
PAGES = (BENCH.parent / "README.md", BENCH / "README.md")
RESULTS = BENCH / "results"
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)

Results = dict[str, Any]


def main() -> None:
    """Write the tables into the pages."""
    for page in PAGES:
        page.write_text(rendered(page.read_text(encoding="utf-8"), RESULTS), encoding="utf-8")


def rendered(text: str, results: Path) -> str:
    """The text with every marked table as its results file says."""
    return BLOCK.sub(lambda block: f"{block[1]}{table(block[2], results)}\n{block[3]}", text)


def table(name: str, results: Path) -> str:
    """One table as Markdown."""
    if name in DIGESTS:
        return DIGESTS[name](results)
    path = results / f"{name}.json"
    if name not in TABLES or not path.is_file():
        raise InputError(f"a README.md has a table {name}, but there is no {path.name} that bench.tables can draw")
    return TABLES[name](json.loads(path.read_text(encoding="utf-8")))


def named(text: str) -> list[str]:
    """The tables that a text has room for."""
    return [block[2] for block in BLOCK.finditer(text)]


def pictured(study: str, results: Results) -> str:
    """A study of QFed with the curves beside it, in the page that lies beside results/."""
    parts = markdown(qfed_study.table(results)), f"![accuracy by round](results/{study}.png)", qfed_study.note(results)
    return "\n\n".join(parts)


TABLES: dict[str, Callable[[Results], str]] = {
    "reviews": lambda results: f"{markdown(reviews.table(results))}\n\n{reviews.note(results)}",
    **{
        f"ablation-{recipe}": lambda results: f"{markdown(parts(results))}\n\n{ablation.note(results)}"
        for recipe in ("llm-qfl-reviews", "llm-qfl-genomic")
    },
    **{
        study: lambda results: f"{markdown(llm_qfl.table(results))}\n\n{llm_qfl.note(results)}"
        for study in llm_qfl.STUDIES
    },
    **{study: partial(pictured, study) for study in qfed_study.studies()},
    "sensitivity": lambda results: "\n\n".join(
        [
            markdown(sensitivity.table(results)),
            "![the same as a heat map](results/sensitivity.png)",
            markdown(sensitivity.stops(results)),
            sensitivity.note(results),
        ]
    ),
    "federation": lambda results: markdown(federation.table(results)),
    "processes": lambda results: f"{markdown(processes.table(results))}\n\n{processes.note(results)}",
    "containers": lambda results: f"{markdown(containers.table(results))}\n\n{containers.note(results)}",
    "gradients": lambda results: f"{markdown(gradients.table(results))}\n\n{gradients.note(results)}".rstrip(),
    "qfed": lambda results: f"{markdown(qfed.table(results))}\n\n{qfed.note(results)}",
    "qfed-noise": lambda results: f"{markdown(qfed_noise.table(results))}\n\n{qfed_noise.note(results)}",
    "qdllm": lambda results: "\n\n".join(
        [
            *(f"{corpus}\n\n{markdown(qdllm.table(results, corpus))}" for corpus in results["corpora"]),
            qdllm.note(results),
        ]
    ),
    "qdllm-deployed": lambda results: "\n\n".join(
        [
            markdown(deployed.table(results)),
            "![the same as bars](results/qdllm-deployed.png)",
            deployed.note(results),
        ]
    ),
    **{
        f"qdllm-{study}": lambda results: f"{markdown(distillation.table(results))}\n\n{distillation.note(results)}"
        for study in distillation.STUDIES
    },
    "distill": lambda results: f"{markdown(distill.table(results))}\n\n{distill.note(results)}",
    "plateau": lambda results: markdown(plateau.table(results)),
    "engine": lambda results: markdown(engine.table(results)),
    "noisy": lambda results: markdown(noisy.table(results)),
    "executors": lambda results: markdown(executors.table(results)),
    "poisoning": lambda results: markdown(poisoning.table(results, "student")),
    "teacher": lambda results: f"{markdown(teacher.table(results))}\n\n{teacher.note(results)}",
    "teachers": lambda results: f"{markdown(teachers.table(results))}\n\n{teachers.note(results)}",
    "faults": lambda results: f"{markdown(faults.table(results))}\n\n{faults.note(results)}",
    "kills": lambda results: markdown(kills.table(results)),
    "report": lambda results: f"{markdown(report.table(results))}\n\n{report.note(results)}",
    "startup": lambda results: markdown(startup.table(results)),
}

DIGESTS: dict[str, Callable[[Path], str]] = {
    "systems": lambda results: f"{markdown(systems.table(results))}\n\n{systems.note()}",
    "helped": systems.helped,
    "qdllm-published": lambda results: f"{markdown(printed.table(results))}\n\n{printed.note(results)}",
    "verify": lambda results: verify(results).markdown(),  # a folder without runs
}

if __name__ == "__main__":
    main()
