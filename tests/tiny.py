"""A base model of random weights in the real classes, and pictures to train on: both tiny."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from loraloom.config import TrainConfig
from loraloom.config_tree import merge
from loraloom.train.recipe import resolve

diffusers_logging.disable_progress_bar()

START, END = "<|startoftext|>", "<|endoftext|>"


def save_base(folder: Path, *, prediction_type: str = "epsilon", seed: int = 0) -> Path:
    """A diffusers folder of about 200,000 random weights for pictures of 32 px."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = byte_tokenizer()
        _unet().save_pretrained(folder / "unet")
        _vae().save_pretrained(folder / "vae")
        _text_encoder(tokenizer).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler(prediction_type).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "loraloom.toml").write_text('title = "Tiny"\nsize_multiple_px = 16\n')
    return folder


def save_pictures(folder: Path, count: int = 6, *, size: tuple[int, int] = (40, 40)) -> Path:
    """Pictures of one colour each, with captions that have the trigger "zk person"."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        colour = (40 * number % 256, 90, 255 - 30 * number % 256)
        Image.new("RGB", size, colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"zk person, front view, shade {number}, outdoors")
    return folder


def save_frames(folder: Path, count: int, *, size: tuple[int, int], first: int = 0) -> Path:
    """A folder of frames, a square that moves over a ground; its caption is beside it already."""
    folder.mkdir(parents=True)
    for number in range(count):
        frame = Image.new("RGB", size, (40 * first % 256, 90, 200))
        frame.paste((230, 200, 20), (5 * number, 5, 5 * number + 20, 25))
        frame.save(folder / f"{number + 1:05d}.png")
    return folder


def config(base: Path, pictures: Path, **overrides: Any) -> TrainConfig:
    """A few quick steps in float32; `overrides` are tables of the settings."""
    tree = {
        "base": str(base),
        "kind": "character",
        "trigger": "zk person",
        "precision": "float32",
        "batch_size": 2,
        "data": {"folder": str(pictures)},
        "adapter": {"rank": 2, "alpha": 1.0, "targets": "attention"},
        "optimiser": {"learning_rate": 1e-2},
        "text_encoder": {"ratio": 0.0},
        "schedule": {"steps": 6, "warmup_steps": 2},
        "prior": {"images": 0},
        "validation": {"every_steps": 3, "timesteps": [0.2, 0.8]},
        "samples": {"prompts": []},
        "checkpoint": {"every_steps": 2},
    }
    return resolve(merge(tree, overrides))


def byte_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of bytes only: any word can be a trigger."""
    return CLIPTokenizer(vocab=byte_vocabulary(), merges=[], model_max_length=77)


def byte_vocabulary() -> dict[str, int]:
    """Every byte, within a word and at its end."""
    letters = _byte_letters()
    words = [START, END, *letters, *(letter + "</w>" for letter in letters)]
    return {word: number for number, word in enumerate(words)}


def scheduler(prediction_type: str) -> DDIMScheduler:
    """SD 1.5's schedule."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )


def _unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        scaling_factor=0.5,
    )


def _text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _byte_letters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]
