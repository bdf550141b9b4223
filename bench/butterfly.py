"""What a layer with BOFT takes, forward and backward: ours against peft's own.

    python -m bench.butterfly
    python -m bench.butterfly --rounds 20

Both ways take turns, on the same numbers, in float32; a line of layers of SD 1.5's sizes for each.
"""

import argparse
import statistics
import time

import torch
from peft import BOFTConfig, inject_adapter_in_model
from torch import Tensor, nn

from loraloom.train.turning import turn_exactly

BLOCK = 16
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear 320, 4,096 rows": (nn.Linear(320, 320), (4096, 320)),
    "linear 1,280, 1,024 rows": (nn.Linear(1280, 1280), (1024, 1280)),
    "convolution 320, 3 x 3, 32 x 32": (nn.Conv2d(320, 320, 3, padding=1), (1, 320, 32, 32)),
}


def adapted(layer: nn.Module, *, ours: bool) -> nn.Module:
    """The layer, frozen, with an adapter whose turns are drawn."""
    torch.manual_seed(0)
    model = nn.Sequential(layer).requires_grad_(False)
    config = BOFTConfig(boft_block_size=BLOCK, boft_n_butterfly_factor=1, target_modules="0")
    inject_adapter_in_model(config, model)
    for name, weight in model.named_parameters():
        if ".boft_R." in name:
            weight.data.normal_(std=0.1)
    if ours:
        turn_exactly(model)
    return model


def seconds(model: nn.Module, x: Tensor) -> float:
    """Of one forward and one backward."""
    began = time.perf_counter()
    model(x).square().mean().backward()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(f"{'layer':34} {'peft ms':>8} {'ours ms':>8} {'times as fast':>14}")
    for title, (layer, shape) in LAYERS.items():
        x = torch.randn(shape, requires_grad=True)
        theirs = adapted(layer, ours=False)
        taken: dict[bool, list[float]] = {False: [], True: []}
        ours = adapted(theirs[0].get_base_layer(), ours=True)  # type: ignore[index]
        for _ in range(given.rounds + 1):
            for key, model in ((False, theirs), (True, ours)):
                taken[key].append(seconds(model, x))
        peft_s, ours_s = (statistics.median(taken[key][1:]) for key in (False, True))
        print(f"{title:34} {peft_s * 1e3:8.1f} {ours_s * 1e3:8.1f} {peft_s / ours_s:14.1f}")


if __name__ == "__main__":
    main()
