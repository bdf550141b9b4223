"""The yardstick: LoRA training as diffusers' text_to_image_lora example teaches it.

Everything in float32, both encoders run in each step, peft LoRA on the UNet's attention, AdamW
with its defaults, pictures read from the disk in each step. No caching, no tricks, no adjustment
of the example's ways, so that anyone knows what it is.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class Setup:
    """What to train on, and how long."""

    base: Path
    folder: Path
    side_px: int
    batch_size: int
    steps: int
    rank: int = 16
    learning_rate: float = 1e-4
    seed: int = 0


@dataclass(frozen=True)
class PlainStep:
    """One optimiser step."""

    step: int
    loss: float
    seconds: float


class PlainLoop:
    """Load, iterate `steps()`, save."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        torch.manual_seed(setup.seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        pipeline = StableDiffusionPipeline.from_pretrained(
            setup.base, torch_dtype=torch.float32, safety_checker=None, local_files_only=True
        ).to(self.device)
        self.unet, self.vae, self.text = pipeline.unet, pipeline.vae, pipeline.text_encoder
        self.tokenizer = pipeline.tokenizer
        self.scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        for module in (self.unet, self.vae, self.text):
            module.requires_grad_(False)
        self.unet.add_adapter(
            LoraConfig(
                r=setup.rank,
                lora_alpha=setup.rank,
                init_lora_weights="gaussian",
                target_modules=["to_k", "to_q", "to_v", "to_out.0"],
            )
        )
        self.trained = [p for p in self.unet.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.trained, lr=setup.learning_rate, weight_decay=1e-2, betas=(0.9, 0.999)
        )
        self.pictures = sorted(setup.folder.glob("*.png"))

    def steps(self) -> Iterator[PlainStep]:
        """Train, and tell of each step."""
        order: list[int] = []
        for step in range(1, self.setup.steps + 1):
            started = time.perf_counter()
            while len(order) < self.setup.batch_size:
                order += torch.randperm(len(self.pictures)).tolist()
            chosen = [self.pictures[order.pop(0)] for _ in range(self.setup.batch_size)]
            loss = self._step(chosen)
            yield PlainStep(step, loss, time.perf_counter() - started)

    def save(self, folder: Path) -> Path:
        """Write the adapter as the example does; returns the file."""
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.unet))
        StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)
        return folder / "pytorch_lora_weights.safetensors"

    def _step(self, paths: list[Path]) -> float:
        pixels = torch.stack([self._pixels(path) for path in paths]).to(self.device)
        captions = [path.with_suffix(".txt").read_text() for path in paths]
        latents = self.vae.encode(pixels).latent_dist.sample() * self.vae.config.scaling_factor
        noise = torch.randn_like(latents)
        length = self.scheduler.config.num_train_timesteps
        t = torch.randint(0, length, (len(paths),), device=self.device)
        noisy = self.scheduler.add_noise(latents, noise, t)
        tokens = self.tokenizer(
            captions, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        context = self.text(tokens.to(self.device))[0]
        wanted = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            wanted = self.scheduler.get_velocity(latents, noise, t)
        loss = F.mse_loss(self.unet(noisy, t, context, return_dict=False)[0], wanted)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return float(loss.detach())

    def _pixels(self, path: Path) -> Tensor:
        side = self.setup.side_px
        picture = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        array = np.asarray(picture, dtype=np.float32) / 127.5 - 1
        return torch.from_numpy(array).permute(2, 0, 1)


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path, help="diffusers folder")
    parser.add_argument("folder", type=Path, help="pictures (.png) with captions (.txt)")
    parser.add_argument("out", type=Path)
    parser.add_argument("--px", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    loop = PlainLoop(
        Setup(a.base, a.folder, a.px, a.batch, a.steps, a.rank, a.learning_rate, a.seed)
    )
    for step in loop.steps():
        print(f"step {step.step}  loss {step.loss:.4f}  {step.seconds:.3f} s")
    print(loop.save(a.out))


if __name__ == "__main__":
    main()
