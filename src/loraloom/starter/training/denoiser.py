"""Train the UNet and the text encoder of the starter base, together, on cached latents."""

from __future__ import annotations

import copy
import random
import string
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from loraloom.starter.training.pictures import pictures, scene_of, to_pixels
from loraloom.starter.training.progress import Stage
from loraloom.starter.training.words import TOKEN_LIMIT, build_tokenizer
from loraloom.starter.world.scene import context_phrases, identity_phrase

UNET = {
    "sample_size": 16,
    "in_channels": 8,
    "out_channels": 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (80, 160),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 192,
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
BATCH = 20
EMA_DECAY = 0.998
EMPTY_SHARE, STRANGE_WORD_SHARE, FORGET_SHARE = 0.1, 0.15, 0.1


class Base(nn.Module):
    """The two parts that learn together."""

    def __init__(self, vocabulary: int, end_token: int) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel(**UNET)
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=192,
                intermediate_size=768,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=TOKEN_LIMIT,
                hidden_act="quick_gelu",
                eos_token_id=end_token,
                bos_token_id=0,
                pad_token_id=end_token,
            )
        )

    def forward(self, noisy: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        context = self.text_encoder(tokens).last_hidden_state
        predicted: Tensor = self.unet(noisy, timestep, context).sample
        return predicted


class Latents:
    """Codec means of the base split, encoded a little ahead of what training reads."""

    def __init__(self, folder: Path, codec: AutoencoderKL) -> None:
        self.codec = codec.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.pictures = pictures(folder, "base")
        self.path = folder / "latents.pt"
        self.ready: Tensor = (
            torch.load(self.path) if self.path.exists() else torch.empty(0, 8, 16, 16)
        )

    @torch.no_grad()
    def grow(self, count: int) -> None:
        start = len(self.ready)
        chunks = [self.ready]
        for at in range(start, min(start + count, len(self.pictures)), 32):
            pixels = to_pixels(self.pictures[at : at + 32]).contiguous(
                memory_format=torch.channels_last
            )
            with torch.autocast("cpu", torch.bfloat16):
                chunks.append(self.codec.encode(pixels).latent_dist.mean.float().contiguous())
        self.ready = torch.cat(chunks)

    def save(self) -> None:
        torch.save(self.ready, self.path)


def training_caption(index: int, rng: random.Random) -> str:
    """The caption of a base picture as training words it: sometimes empty, with some phrases
    left out, or with a strange word before the subject, so that unknown words mean nothing yet."""
    if rng.random() < EMPTY_SHARE:
        return ""
    scene = scene_of("base", index)
    said = context_phrases(scene)
    if rng.random() < 0.4:
        said = [words for words in said if rng.random() > FORGET_SHARE * 2]
    subject = identity_phrase(scene)
    if rng.random() < 0.15:
        subject = subject.split(", ")[0]
    if rng.random() < STRANGE_WORD_SHARE:
        strange = "".join(rng.choices(string.ascii_lowercase, k=rng.randint(3, 6)))
        subject = f"{strange} {subject}"
    return ", ".join([subject, *said])


def _batches(
    step: int, latents: Latents, tokenizer: CLIPTokenizer, scale: float
) -> tuple[Tensor, Tensor]:
    rng = random.Random(step)
    chosen = [rng.randrange(len(latents.ready)) for _ in range(BATCH)]
    captions = [training_caption(index, rng) for index in chosen]
    tokens = tokenizer(
        captions, padding="max_length", max_length=TOKEN_LIMIT, truncation=True, return_tensors="pt"
    )
    return latents.ready[chosen] * scale, tokens.input_ids


def v_loss(
    model: Base, clean: Tensor, tokens: Tensor, alphas: Tensor, generator: torch.Generator
) -> Tensor:
    """Min-SNR-5 weighted v-prediction loss (Hang et al. 2023; Salimans & Ho 2022)."""
    t = torch.randint(0, len(alphas), (len(clean),), generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    a = alphas[t].view(-1, 1, 1, 1)
    noisy = a.sqrt() * clean + (1 - a).sqrt() * noise
    target = a.sqrt() * noise - (1 - a).sqrt() * clean
    snr = a / (1 - a)
    weight = snr.clamp(max=5) / (snr + 1)
    loss: Tensor = (weight * (model(noisy, t, tokens).float() - target) ** 2).mean()
    return loss


def _ema_update(average: nn.Module, model: nn.Module, step: int) -> None:
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    with torch.no_grad():
        for kept, live in zip(average.parameters(), model.parameters(), strict=True):
            kept.lerp_(live, 1 - decay)


def train_denoiser(
    folder: Path, codec: AutoencoderKL, minutes: float
) -> tuple[Base, CLIPTokenizer, float]:
    """Train for `minutes`; resumes from folder/denoiser.pt. Returns the averaged model, the
    tokenizer and the latents' scale."""
    torch.manual_seed(1)
    tokenizer = build_tokenizer()
    model = Base(len(tokenizer), tokenizer.eos_token_id)
    model.unet.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-3)
    stage = Stage(
        folder / "denoiser.pt",
        nn.ModuleList([model, average]),
        optimiser,
        minutes=minutes,
        rate=1e-3,
    )
    latents = Latents(folder, codec)
    if not len(latents.ready):
        latents.grow(4_096)
        latents.save()
    scale = round(1 / float(latents.ready[:4_096].std()), 5)
    alphas = DDIMScheduler(**SCHEDULER).alphas_cumprod
    for step in stage.steps():
        if step % 8 == 0:
            latents.grow(64)
        clean, tokens = _batches(step, latents, tokenizer, scale)
        clean = clean.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            loss = v_loss(model, clean, tokens, alphas, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        _ema_update(average, model, step)
        stage.record(loss.item())
    latents.save()
    return average, tokenizer, scale
