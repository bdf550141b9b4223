"""The UNet's modules as Stability AI's own code names them, which kohya's files for SDXL go by.

diffusers: `down_blocks.1.attentions.0.…`; Stability-AI/generative-models: `input_blocks.4.1.…`,
where the blocks of all resolutions are counted through. With two ResNets a resolution, as all of
these models have, the third place of each is the sampling layer's.
"""

import re

_PLACES = 3
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_MIDDLE = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
_KINDS = ("resnets", "attentions", "upsamplers")
_INNER = {theirs.replace(".", "_"): ours for ours, theirs in _RESNET.items()}
_APART = {theirs.replace(".", "_"): ours for ours, theirs in _OUTSIDE.items()}


def to_sgm(path: str) -> str:
    """The path of a module of diffusers' UNet in Stability AI's names."""
    if path in _OUTSIDE:
        return _OUTSIDE[path]
    middle = re.fullmatch(r"mid_block\.(\w+\.\d)\.(.+)", path)
    if middle:
        kind = middle[1]
        return f"middle_block.{_MIDDLE[kind]}.{_inner(kind, middle[2])}"
    block = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", path)
    assert block, f"{path} is no module of a UNet"
    way, number, kind, place, rest = block[1], int(block[2]), block[3], int(block[4]), block[5]
    if kind == "downsamplers":
        return f"input_blocks.{_PLACES * (number + 1)}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{_PLACES * number + _PLACES - 1}.2.conv"
    through = _PLACES * number + place
    name = f"input_blocks.{through + 1}" if way == "down" else f"output_blocks.{through}"
    return f"{name}.{_KINDS.index(kind)}.{_inner(kind, rest)}"


def from_sgm(flat: str) -> str | None:
    """A module of diffusers' UNet, or None where `flat`, in Stability AI's names with "_" for ".",
    names no block. What stands inside of an attention comes back as it is, with "_"."""
    if flat in _APART:
        return _APART[flat]
    middle = re.fullmatch(r"middle_block_(\d)_(.+)", flat)
    if middle:
        kind = next((ours for ours, theirs in _MIDDLE.items() if theirs == middle[1]), None)
        return kind and f"mid_block.{kind}.{_INNER.get(middle[2], middle[2])}"
    block = re.fullmatch(r"(input|output)_blocks_(\d+)_([012])_(.+)", flat)
    if not block:
        return None
    down, kind, rest = block[1] == "input", _KINDS[int(block[3])], block[4]
    number, place = divmod(int(block[2]) - down, _PLACES)
    if rest == "op":
        return f"down_blocks.{number}.downsamplers.0.conv"
    if not down and rest == "conv":
        return f"up_blocks.{number}.upsamplers.0.conv"
    way = "down" if down else "up"
    return f"{way}_blocks.{number}.{kind}.{place}.{_INNER.get(rest, rest)}"


def _inner(kind: str, rest: str) -> str:
    return _RESNET[rest] if kind.startswith("resnets") else rest
