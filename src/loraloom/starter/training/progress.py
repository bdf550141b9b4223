"""One stage of training: a clock, a state file, and a line of progress now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

SAVE_EVERY_S = 120.0
PRINT_EVERY_S = 20.0
LONGEST_STEP_S = 5.0
"""A longer pause is the machine's sleep, not training."""


class Stage:
    """Yields step numbers until the stage's minutes are used up; saves and resumes by itself.

    The learning rate warms up over 200 steps and falls along a cosine over the stage's share of
    time that has passed, so that a stage always ends at its lowest rate.
    """

    def __init__(
        self,
        path: Path,
        module: nn.Module,
        optimisers: Sequence[Optimizer],
        *,
        minutes: float,
        rate: float,
    ) -> None:
        self.path, self.module, self.optimisers = path, module, optimisers
        self.minutes, self.rate = minutes, rate
        self._weights = [weight for weight in module.parameters() if weight.requires_grad]
        self.step, self.spent_s, self.average = 0, 0.0, float("nan")
        if path.exists():
            state = torch.load(path, weights_only=True)
            module.load_state_dict(state["module"])
            for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept)
            self.step, self.spent_s = state["step"], state["spent_s"]

    @property
    def share(self) -> float:
        """Share of the stage that has passed, 0..1."""
        return min(self.spent_s / (self.minutes * 60), 1.0)

    def steps(self) -> Iterator[int]:
        printed = saved = last = time.monotonic()
        while self.share < 1:
            rate = (
                self.rate
                * min(1, (self.step + 1) / 200)
                * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * self.share)))
            )
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = rate
            yield self.step
            self.step += 1
            now = time.monotonic()
            self.spent_s += min(now - last, LONGEST_STEP_S)
            last = now
            if now - printed > PRINT_EVERY_S:
                printed = now
                told = f"step {self.step}, {self.share:.0%}, loss {self.average:.4f}"
                print(f"{self.path.stem}: {told}", flush=True)
            if now - saved > SAVE_EVERY_S:
                saved = now
                self.save()
        self.save()

    def descend(self, loss: Tensor) -> None:
        """One step of the optimisers down this loss."""
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._weights, 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        now = loss.item()
        self.average = now if math.isnan(self.average) else 0.98 * self.average + 0.02 * now

    def save(self) -> None:
        part = self.path.with_suffix(".part")
        torch.save(
            {
                "module": self.module.state_dict(),
                "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
                "step": self.step,
                "spent_s": self.spent_s,
            },
            part,
        )
        part.replace(self.path)
