"""Pictures from the pipelines of diffusers, and how far apart two are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from tests import tiny_families

from loraloom.families.base import Family
from loraloom.generate.session import Request


def drawn(pipe: Any, family: Family, request: Request) -> Image.Image:
    """What a family's pipeline draws of a request; of a base of video one frame."""
    negative = {"negative_prompt": ""} if family.info.guidance == "true_cfg_scale" else {}
    moving = {"num_frames": 1, "output_type": "pil"} if family.info.frames else {}
    output = pipe(
        request.prompt, **negative, **moving, num_inference_steps=request.steps,
        **{family.info.guidance: request.guidance},
        width=tiny_families.NATIVE_PX, height=tiny_families.NATIVE_PX,
        generator=torch.Generator().manual_seed(request.seed),
    )  # fmt: skip
    picture: Image.Image = output.frames[0][0] if moving else output.images[0]
    return picture


def distance(a: Image.Image, b: Image.Image) -> float:
    """The largest difference of a colour, of 255."""
    left, right = (np.asarray(picture, dtype=np.int16) for picture in (a, b))
    return float(np.abs(left - right).max())
