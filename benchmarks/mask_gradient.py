"""Is the gradient that teaches the mask the truth? It against what really happens when a single position is measured or left out.

The derivative of the training loss to a 0/1 mask (what the straight-through estimator passes on to the policy) is compared with the
loss with that position measured less the loss without, position by position, for positions at the edge of the learned mask
(probability between 1 and 99 %), on embedded validation images, with the bundle's shipped weights. With these effects, positions
are then exchanged while the loss falls, the network fixed: what a search that needs no gradient finds, judged on other images.

Usage: python benchmarks/mask_gradient.py [--positions 120]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infomri_monai.acquisition import ComplexGaussianNoise, FourierMeasurement
from infomri_monai.data import embedded_subjects
from infomri_monai.information import gaussian_nll
from infomri_monai.metrics import psnr
from infomri_monai.networks import UnrolledReconstructor, load_network
from infomri_monai.sampling import PatternGenerationNetwork, SamplingPolicy, load_policy
from infomri_monai.systems import ReconstructionResult, ReconstructionSystem

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "bundles/infomri_recon/models"
RESULT = ROOT / "benchmarks/results/mask_gradient.json"
RATIOS = (0.0625, 0.125, 0.25)
EXCHANGES = 20
#: correlations on unmeasured positions while the residual of data consistency held the mask too (weights shipped then)
HELD_TWICE = [0.67, 0.85, 0.61]


class GivenMask(SamplingPolicy):
    """Hands on the mask that it was given."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given = given

    def draw(
        self, ratio: Tensor, positions: tuple[int, ...], generator: torch.Generator | None, acquired: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The given mask, for every image of the batch."""
        mask = self.given.expand(ratio.numel(), 1, *positions)
        return mask, mask.detach()


class Case:
    """The shipped system with one mask for a few validation images, and its training loss as a function of that mask."""

    def __init__(self, ratio: float, first: int = 0, images: int = 8, seed: int = 0) -> None:
        policy = load_policy(MODELS / "policy.pt")
        assert isinstance(policy, PatternGenerationNetwork)
        network = load_network(UnrolledReconstructor(phases=5, channels=16), MODELS / "model.pt").requires_grad_(False)
        self.ratio = ratio
        self.system = ReconstructionSystem(
            GivenMask(torch.empty(0)), FourierMeasurement(noise=ComplexGaussianNoise(5e-4, reference="dc")), network
        )
        items = embedded_subjects("validation", subjects=first + images, slices_per_subject=1, grid=policy.grid or ())
        self.image = torch.stack([torch.as_tensor(item["image"]) for item in items[first:]])
        self.mask = policy(ratio, policy.grid or (), torch.Generator().manual_seed(seed)).mask.detach()
        with torch.no_grad():
            probabilities = policy.probabilities(torch.tensor([ratio]))
            log_variance = self.result(self.mask).log_variance
        self.weight = torch.softmax(0.5 * log_variance.flatten(1), dim=1).reshape(log_variance.shape)
        self.edge = ((probabilities > 0.01) & (probabilities < 0.99)).flatten().nonzero().flatten()

    def result(self, mask: Tensor) -> ReconstructionResult:
        """The reconstruction with a mask; the noise is the same for every mask."""
        self.system.policy.given = mask
        result: ReconstructionResult = self.system(self.image, self.ratio, torch.Generator().manual_seed(1))
        return result

    def loss(self, mask: Tensor) -> Tensor:
        """The training loss with the pixel weights of the undisturbed mask, which its gradient holds constant."""
        result = self.result(mask)
        nll = gaussian_nll(self.image, result.mean, result.log_variance, "none")
        return (self.weight * nll).flatten(1).sum(1).mean()

    def gradient(self) -> Tensor:
        """Derivative of the loss to every position of the mask, flat."""
        mask = self.mask.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.loss(mask), mask)
        return gradient.flatten()

    @torch.no_grad()
    def effect(self, position: int) -> float:
        """Loss with the position measured less loss without it."""
        losses = []
        for value in (1.0, 0.0):
            mask = self.mask.clone()
            mask.view(-1)[position] = value
            losses.append(float(self.loss(mask)))
        return losses[0] - losses[1]


def compare(ratio: float, positions: int) -> dict[str, Any]:
    """Correlation and mean of gradient and true effect, where the position is not measured and where it is."""
    case, other = Case(ratio), Case(ratio, first=8)
    chosen = case.edge[torch.randperm(len(case.edge), generator=torch.Generator().manual_seed(2))[:positions]]
    gradient = case.gradient()[chosen]
    effect = torch.tensor([case.effect(int(position)) for position in chosen])
    measured = case.mask.flatten()[chosen] > 0
    row: dict[str, Any] = {"ratio": ratio}
    for name, group in (("unmeasured", ~measured), ("measured", measured)):
        row[name] = {
            "positions": int(group.sum()),
            "correlation": round(float(torch.corrcoef(torch.stack([gradient[group], effect[group]]))[0, 1]), 2),
            "mean_gradient": float(gradient[group].mean()),
            "mean_effect": float(effect[group].mean()),
        }
    leave = chosen[measured][effect[measured].argsort(descending=True)].tolist()
    enter = chosen[~measured][effect[~measured].argsort()].tolist()
    row["exchange"] = exchange(case, other, list(zip(leave, enter, strict=False))[:EXCHANGES])
    return row


@torch.no_grad()
def exchange(case: Case, other: Case, pairs: list[tuple[int, int]]) -> dict[str, Any]:
    """Let the least useful measured positions make way for the most useful unmeasured ones, each time if the loss falls."""
    mask, kept = case.mask.clone(), 0
    lowest = start = float(case.loss(mask))
    for leaving, entering in pairs:
        changed = mask.clone()
        changed.view(-1)[leaving], changed.view(-1)[entering] = 0.0, 1.0
        if (loss := float(case.loss(changed))) < lowest:
            mask, lowest, kept = changed, loss, kept + 1
    gain = [
        float(psnr(c.result(mask).mean, c.image).mean() - psnr(c.result(c.mask).mean, c.image).mean())
        for c in (case, other)
    ]
    return {"tried": len(pairs), "kept": kept, "loss": lowest - start, "psnr": gain[0], "psnr_of_other_images": gain[1]}


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--positions", type=int, default=120)
    arguments = parser.parse_args()
    rows = [compare(ratio, arguments.positions) for ratio in RATIOS]
    RESULT.write_text(
        json.dumps(
            {"seed": 0, "images": 8, "rows": rows, "held_twice": HELD_TWICE, "torch": torch.__version__}, indent=2
        )
        + "\n"
    )
    for row in rows:
        for name in ("unmeasured", "measured"):
            print(f"{row['ratio']:7.4f} {name:>10}: " + ", ".join(f"{k} {v:.3g}" for k, v in row[name].items()))
        print(f"{row['ratio']:7.4f}   exchange: " + ", ".join(f"{k} {v:.3g}" for k, v in row["exchange"].items()))


if __name__ == "__main__":
    main()
