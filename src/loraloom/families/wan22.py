"""Wan 2.2 of 14 thousand million active weights: two experts, one for each half of the times.

Wan-Video/Wan2.2; diffusers' WanPipeline is the reference, which hands over from `transformer` to
`transformer_2` at model_index.json's boundary_ratio (.875 for text to video). A run trains one.
"""

from __future__ import annotations

from dataclasses import replace

from loraloom.families import wan
from loraloom.kinds import read_data

INFO = replace(
    wan.INFO,
    id="wan22",
    title="Wan 2.2 A14B",
    parts={**wan.INFO.parts, "denoiser_2": wan.SECOND_DENOISER},
    experts=("high_noise", "low_noise"),
    base_version="wan2.2",
    architecture="wan-2.2-a14b/lora",
    data=read_data("wan22"),
)

FAMILY = wan.Wan(INFO)
