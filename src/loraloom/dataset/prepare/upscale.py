"""Enlarge pictures by a model of the user's own, such as Real-ESRGAN, read by spandrel."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from loraloom.errors import UpscalerUnusable

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor
    from torch import Tensor

TILE_PX = 256
OVERLAP_PX = 24
"""A tile sees so much of its neighbours; what is beyond has no part in a pixel that counts."""
PICKLES = (".pth", ".pt", ".ckpt", ".bin")

Enlarge = Callable[[Image.Image], Image.Image]


class Upscaler:
    """A loaded model; one picture at a time."""

    def __init__(self, model: ImageModelDescriptor[object], device: str) -> None:
        self.scale = model.scale
        self.title = model.architecture.name
        self._model = model
        self._device = device
        self._one = threading.Lock()

    def __call__(self, image: Image.Image) -> Image.Image:
        """The RGB picture, `scale` times as wide and high."""
        import torch

        with self._one, torch.inference_mode():
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
            large = self._tiles(pixels.to(self._device, torch.float32) / 255)
        values = (large[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8)
        return Image.fromarray(values.cpu().numpy())

    def _tiles(self, pixels: Tensor) -> Tensor:
        """(1, 3, H, W) in [0, 1] -> (1, 3, scale H, scale W), a tile at a time."""
        _, _, height_px, width_px = pixels.shape
        scale = self.scale
        large = pixels.new_empty((1, 3, height_px * scale, width_px * scale))
        for top in range(0, height_px, TILE_PX):
            for left in range(0, width_px, TILE_PX):
                bottom, right = min(top + TILE_PX, height_px), min(left + TILE_PX, width_px)
                y, x = max(0, top - OVERLAP_PX), max(0, left - OVERLAP_PX)
                tile = self._model(pixels[:, :, y : bottom + OVERLAP_PX, x : right + OVERLAP_PX])
                large[:, :, top * scale : bottom * scale, left * scale : right * scale] = tile[
                    :,
                    :,
                    (top - y) * scale : (bottom - y) * scale,
                    (left - x) * scale : (right - x) * scale,
                ]
        return large


def load(path: Path) -> Upscaler:
    """The model in a .safetensors file. Raises UpscalerUnusable."""
    if not path.is_file():
        raise UpscalerUnusable(f"There is no upscaling model {path}; check the path.")
    if path.suffix.lower() != ".safetensors":
        kind = "a pickle, which" if path.suffix.lower() in PICKLES else "a file that"
        raise UpscalerUnusable(
            f"{path.name} is {kind} could run code when it is opened, and is not read. Use a "
            '.safetensors file, or make one: python -c "import torch, safetensors.torch as s; '
            "d = torch.load('in.pth', weights_only=True); "
            "s.save_file(d.get('params_ema', d.get('params', d)), 'out.safetensors')\""
        )
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError
    except ImportError as error:
        raise UpscalerUnusable(
            f"Upscaling needs spandrel ({error}): pip install 'loraloom[upscale]'."
        ) from error
    import torch
    from safetensors import SafetensorError

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model = ModelLoader(device=device).load_from_file(path)
    except UnsupportedModelError as error:
        raise UpscalerUnusable(
            f"{path.name} is of no architecture that spandrel knows; use a model such as ESRGAN, "
            "Real-ESRGAN, SwinIR or DAT."
        ) from error
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UpscalerUnusable(f"{path.name} cannot be read as a model ({reason}).") from error
    if not isinstance(model, ImageModelDescriptor) or model.scale < 2 or model.input_channels != 3:
        raise UpscalerUnusable(
            f"{path.name} ({model.architecture.name}) does not enlarge colour pictures: it has "
            f"scale {model.scale} and {model.input_channels} channels."
        )
    return Upscaler(model.eval().float(), device)
