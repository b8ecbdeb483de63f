"""Barren plateaus of the ring: `python -m bench.plateau`. How the variance of β's gradient falls with qubits.

Var ∂f/∂β_k over draws of β ~ U(−spread, spread) and over all k whose gradient is not always 0, of two f: p(0…0), the
classic global cost (McClean et al. 2018, arXiv:1803.11173), and m·w, w the weights that QFed's generator writes and
m ~ N(0, 1/M) fixed, which is how a network's loss sees them. The features 0.1·2^(n−1)·p undo the smallness of p.
The numbers depend on no machine.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from bench.machine import facts, wide_console
from data.whole import write_whole
from quantum.generator import Circuit, Generator
from recipes.schema import GeneratorConfig

RESULTS = Path(__file__).parent / "results" / "plateau.json"
QUBITS, BLOCKS, SPREADS, DRAWS = (4, 6, 8, 10, 12, 13), (2, 4, 8, 16), (0.1, 0.5, 3.141592653589793), 20

Results = dict[str, Any]


def main() -> None:
    """Measure, print the table, write the results file."""
    asked = argparse.ArgumentParser(prog="bench.plateau", description=(__doc__ or "").split("\n")[0])
    asked.add_argument("--draws", type=int, default=DRAWS)
    asked.add_argument("--results", type=Path, default=RESULTS)
    said = asked.parse_args()
    torch.set_num_threads(1)
    rows = [
        {"qubits": qubits, "blocks": blocks, "spread": spread, **variances(qubits, blocks, spread, said.draws)}
        for spread, blocks, qubits in product(SPREADS, BLOCKS, QUBITS)
    ]
    results = {**facts(("torch", "qiskit")), "schema": 1, "draws": said.draws, "rows": rows}
    said.results.parent.mkdir(parents=True, exist_ok=True)
    write_whole(said.results, (json.dumps(results, indent=1) + "\n").encode())
    wide_console().print(table(results))


def variances(qubits: int, blocks: int, spread: float, draws: int) -> dict[str, float]:
    """Of both gradients."""
    most = 2**qubits
    generator = Generator(GeneratorConfig(blocks=blocks, activation="none", spread=spread, gain=1.0), most)
    circuit = generator.source
    assert isinstance(circuit, Circuit)
    mix_M = torch.from_numpy(np.random.default_rng(0).normal(0, most**-0.5, most)).float()
    global_DP, written_DP = [], []
    for seed in range(draws):
        arrays = {name: torch.from_numpy(array) for name, array in generator.initial(seed).items()}
        beta_P = arrays["beta"].requires_grad_()
        (slope_P,) = torch.autograd.grad(circuit.probabilities(beta_P)[0], beta_P)
        global_DP.append(slope_P.numpy())
        (slope_P,) = torch.autograd.grad(generator.weights(arrays) @ mix_M, beta_P)
        written_DP.append(slope_P.numpy())
    return {"probability": variance(global_DP), "weights": variance(written_DP)}


def variance(slopes_DP: list[Any]) -> float:
    """Mean over the angles that matter of the variance over draws."""
    by_angle_P = np.var(np.array(slopes_DP, dtype=np.float64), axis=0)
    return float(by_angle_P[by_angle_P > 1e-12 * by_angle_P.max()].mean())


def table(results: Results) -> Table:
    """A row an initialisation and depth, a column a number of qubits: Var of ∂p(0…0), and of ∂(m·w)."""
    drawn = Table(
        title="variance of β's gradient: of p(0…0) · of the written weights",
        caption=f"{results['commit']} · {results['draws']} draws",
        title_justify="left",
        caption_justify="left",
    )
    rows = results["rows"]
    drawn.add_column("angles, blocks")
    for qubits in sorted({row["qubits"] for row in rows}):
        drawn.add_column(f"{qubits} qubits", justify="right")
    for spread, blocks in dict.fromkeys((row["spread"], row["blocks"]) for row in rows):
        cells = [row for row in rows if (row["spread"], row["blocks"]) == (spread, blocks)]
        drawn.add_row(
            f"±{spread:.2g}, {blocks}", *(f"{cell['probability']:.0e} · {cell['weights']:.0e}" for cell in cells)
        )
    return drawn


if __name__ == "__main__":
    main()
