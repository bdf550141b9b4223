"""Train the UNet and the text encoder of the starter base, together, on cached latents."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from loraloom.starter.training.codec import LATENTS_FILE
from loraloom.starter.training.emphasis import emphases
from loraloom.starter.training.muon import muon_and_adamw
from loraloom.starter.training.naming import (
    Naming,
    attributes_of,
    learn_to_name,
    training_caption,
)
from loraloom.starter.training.pictures import pictures, to_pixels
from loraloom.starter.training.progress import Stage
from loraloom.starter.training.showing import errors, train_reader
from loraloom.starter.training.words import TOKEN_LIMIT, build_tokenizer

TEXT_WIDTH = 192
UNET = {
    "sample_size": 16,
    "in_channels": 8,
    "out_channels": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (80, 160),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": TEXT_WIDTH,
    "norm_num_groups": 16,
}
SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
BATCH, RATE = 48, 1.2e-3
EMA_DECAY = 0.998
TIMESTEP_MEAN, TIMESTEP_SD = 0.2, 1.4
SAVE_LATENTS_EVERY = 8_192
NAMING_SHARE, SHOWING_SHARE = 0.01, 0.01


class Base(nn.Module):
    """The two parts that learn together."""

    def __init__(self, vocabulary: int, end_token: int) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(**UNET)
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=TEXT_WIDTH,
                intermediate_size=4 * TEXT_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=TOKEN_LIMIT,
                hidden_act="quick_gelu",
                eos_token_id=end_token,
                bos_token_id=0,
                pad_token_id=end_token,
            )
        )
        self.naming = Naming(TEXT_WIDTH)

    def forward(self, noisy: Tensor, timestep: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The velocity, like `noisy`, and the text conditions (B, tokens, width)."""
        context: Tensor = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, timestep, context).sample, context


class Latents:
    """Codec means of the base split, encoded a little ahead of what training reads."""

    def __init__(self, folder: Path, codec: AutoencoderKL) -> None:
        self.codec = codec.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.pictures = pictures(folder, "base")
        self.path = folder / LATENTS_FILE
        self._all = torch.empty(len(self.pictures), 8, 16, 16)
        self._count = 0
        if self.path.exists():
            kept = torch.load(self.path, weights_only=True)
            self._count = len(kept)
            self._all[: self._count] = kept

    @property
    def ready(self) -> Tensor:
        """What is encoded so far, (N, 8, 16, 16)."""
        return self._all[: self._count]

    @torch.no_grad()
    def grow(self, count: int) -> None:
        stop = min(self._count + count, len(self.pictures))
        for at in range(self._count, stop, 32):
            pixels = to_pixels(self.pictures[at : min(at + 32, stop)]).contiguous(
                memory_format=torch.channels_last
            )
            with torch.autocast("cpu", torch.bfloat16):
                self._all[at : at + len(pixels)] = self.codec.encode(pixels).latent_dist.mean
        grown, self._count = stop > self._count, stop
        if grown and (stop % SAVE_LATENTS_EVERY == 0 or stop == len(self.pictures)):
            self._save()

    def _save(self) -> None:
        part = self.path.with_suffix(".part")
        torch.save(self.ready.clone(), part)
        part.replace(self.path)


@dataclass(frozen=True)
class _Batch:
    clean: Tensor
    cells: Tensor
    tokens: Tensor
    wanted: dict[str, Tensor]


def _batch(
    step: int, latents: Latents, weights: NDArray[np.float16], tokenizer: CLIPTokenizer
) -> _Batch:
    rng = random.Random(step)
    chosen = [rng.randrange(len(latents.ready)) for _ in range(BATCH)]
    captions = [training_caption(index, rng) for index in chosen]
    tokens = tokenizer(
        captions, padding="max_length", max_length=TOKEN_LIMIT, truncation=True, return_tensors="pt"
    )
    cells = torch.from_numpy(weights[chosen]).float().unsqueeze(1)
    return _Batch(latents.ready[chosen], cells, tokens.input_ids, attributes_of(chosen, captions))


def timesteps(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Logit-normal over 0..length-1 (Esser et al. 2024, section 3.1), one draw from each of
    `count` equal shares: most lie where the caption decides what is drawn."""
    share = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    z = TIMESTEP_MEAN + TIMESTEP_SD * torch.special.ndtri(share.clamp(1e-5, 1 - 1e-5))
    return (torch.sigmoid(z) * length).long().clamp(max=length - 1)


@dataclass(frozen=True)
class Noised:
    """Latents (B, C, h, w) under noise, and the velocity that a denoiser should tell."""

    noisy: Tensor
    target: Tensor
    t: Tensor
    alpha: Tensor
    """Share of the latents' power that is left, (B, 1, 1, 1)."""

    def error(self, velocity: Tensor, cells: Tensor) -> Tensor:
        """Squared error (Salimans & Ho 2022) weighted by `cells` (B, 1, h, w): a scalar.

        Weights that favour little noise, such as min-SNR, teach the captions more slowly.
        """
        return (cells * (velocity.float() - self.target) ** 2).mean()

    def guess(self, velocity: Tensor) -> Tensor:
        """The latents without noise, as this velocity has them."""
        return self.alpha.sqrt() * self.noisy - (1 - self.alpha).sqrt() * velocity

    @property
    def doubt(self) -> Tensor:
        """How far a guess is one, (B,): where little noise is, the latents can be seen."""
        return (1 - self.alpha.flatten()) ** 2


def noised(clean: Tensor, alphas: Tensor, generator: torch.Generator) -> Noised:
    t = timesteps(len(clean), len(alphas), generator)
    noise = torch.randn(clean.shape, generator=generator)
    a = alphas[t].view(-1, 1, 1, 1)
    noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
    return Noised(noisy, a.sqrt() * noise - (1 - a).sqrt() * clean, t, a)


def _ema_update(average: nn.Module, model: nn.Module, step: int) -> None:
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    with torch.no_grad():
        for kept, live in zip(average.parameters(), model.parameters(), strict=True):
            kept.lerp_(live, 1 - decay)


def train_denoiser(
    folder: Path, codec: AutoencoderKL, minutes: float
) -> tuple[Base, CLIPTokenizer, float]:
    """Train for `minutes`; resumes from folder/denoiser.pt. Returns the averaged model, the
    tokenizer and the latents' scale.

    Not compiled: under bfloat16 autocast on a CPU, torch 2.13's compiler gives no gradient to what
    lies before an upsampler.
    """
    torch.manual_seed(1)
    tokenizer = build_tokenizer()
    model = Base(len(tokenizer), tokenizer.eos_token_id)
    model.unet.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    optimisers = muon_and_adamw(model, RATE, ends=("unet.conv_in", "unet.conv_out", "naming."))
    both = nn.ModuleList([model, average])
    stage = Stage(folder / "denoiser.pt", both, optimisers, minutes=minutes, rate=RATE)
    weights = emphases(folder)
    if stage.step == 0:
        learn_to_name(model, tokenizer)
        average.load_state_dict(model.state_dict())
    latents = Latents(folder, codec)
    if not len(latents.ready):
        latents.grow(SAVE_LATENTS_EVERY)
    scale = round(1 / float(latents.ready[:4_096].std()), 5)
    reader = train_reader(folder, latents.ready * scale)
    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod
    for step in stage.steps():
        if step % 8 == 0:
            latents.grow(64)
        batch = _batch(step, latents, weights, tokenizer)
        clean = (batch.clean * scale).contiguous(memory_format=torch.channels_last)
        generator = torch.Generator().manual_seed(step)
        given = noised(clean, alphas, generator)
        with torch.autocast("cpu", torch.bfloat16):
            velocity, context = model(given.noisy, given.t, batch.tokens)
            loss = given.error(velocity, batch.cells)
            named = model.naming(context, batch.tokens, batch.wanted, generator)
            shown = (given.doubt * errors(reader(given.guess(velocity)), batch.wanted)).mean()
        stage.descend(loss + NAMING_SHARE * named + SHOWING_SHARE * shown)
        _ema_update(average, model, step)
    return average, tokenizer, scale
