"""OFT's turns under autocast, against a turn computed in float64."""

import numpy as np
import torch
from torch import nn

from loraloom.config import AdapterConfig
from loraloom.train import tuners
from loraloom.train.turning import ExactRotation

WIDTH, BLOCK = 12, 4


def test_small_turns_are_not_rounded_away() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, 5, bias=False))
    config = AdapterConfig(type="oft", rank=None, alpha=None, block_size=BLOCK)
    tuners.insert(model, config, ["0"])
    (turn,) = (module for module in model.modules() if isinstance(module, ExactRotation))
    angles = 1e-3 * torch.randn_like(turn.weight)
    turn.weight.data.copy_(angles)
    x = torch.randn(7, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        turned = turn(x)
    assert turned.dtype == torch.float32
    expected = x.double().numpy().copy()
    for block, own in enumerate(angles.double().numpy()):
        skew = np.zeros((BLOCK, BLOCK))
        skew[np.triu_indices(BLOCK, 1)] = own
        skew -= skew.T
        one = np.eye(BLOCK)
        rotation = (one - skew) @ np.linalg.inv(one + skew)  # Cayley
        columns = slice(block * BLOCK, (block + 1) * BLOCK)
        expected[:, columns] = expected[:, columns] @ rotation
    change = np.abs(expected - x.double().numpy()).max()
    assert np.abs(turned.detach().numpy() - expected).max() < 1e-3 * change
