"""A base that is shared out: each of several processes holds its part of every frozen weight.

torch's fully_shard (FSDP) brings a block's weights together while it is computed, forward and back,
and lets them go again. The adapter stands whole in each process, as without it. Whenever the
denoiser is asked, every process must ask it.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod

from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from loraloom.config import TrainConfig
from loraloom.errors import ConfigInvalid
from loraloom.train.processes import Processes


def share_out(
    model: nn.Module, adapter: Collection[nn.Parameter], processes: Processes, device: str
) -> None:
    """Keep only this process's part of each weight that is not the adapter's.

    The model may lie on the CPU: it goes to the device block by block.
    """
    mesh = init_device_mesh(device, (processes.count,))
    for weight in adapter:
        weight.data = weight.data.to(device)
    for block in blocks(model):
        fully_shard(block, mesh=mesh, ignored_params=set(adapter))
    fully_shard(model, mesh=mesh, ignored_params=set(adapter))


def blocks(model: nn.Module) -> list[nn.Module]:
    """The outermost of several parts alike, which have numbers for names."""
    named = [(path.split("."), module) for path, module in model.named_modules()]
    return [m for path, m in named if path[-1].isdigit() and not any(map(str.isdigit, path[:-1]))]


def held_bytes(model: nn.Module, whole_bytes: int, count: int) -> int:
    """Of `whole_bytes` of weights, what each of so many processes holds: its part, and two blocks
    that are brought together, the one that is computed and the next."""
    dtype = next(model.parameters()).dtype
    sizes = [sum(prod(p.shape) for p in block.parameters()) for block in blocks(model)]
    return whole_bytes // count + 2 * max(sizes, default=0) * dtype.itemsize


def check(config: TrainConfig, processes: Processes) -> None:
    """Raise ConfigInvalid where there is no one to share with."""
    if config.shard_base and processes.count == 1:
        raise ConfigInvalid(
            "shard_base = true has no effect in one process: start several with torchrun, or leave "
            "it out. With one GPU, quantisation = int8 makes the base smaller."
        )
