"""A Florence-2 of random weights in transformers' own classes."""

from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import (
    BartConfig,
    BartTokenizer,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
)

SIDE_PX = 32


def save_florence(folder: Path) -> Path:
    """About 28,000 weights for pictures of 32 px; the tokenizer knows bytes only."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    tokenizer = BartTokenizer(
        vocab=vocabulary, merges=[], extra_special_tokens={"image_token": "<image>"}
    )
    size = {"height": SIDE_PX, "width": SIDE_PX}
    images = CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False)
    images.image_seq_length = 2
    text = BartConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, max_position_embeddings=256, bos_token_id=0, pad_token_id=1,
        eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=2,
    )  # fmt: skip
    vision = {
        "model_type": "florence_vision", "depths": (1, 1, 1, 1), "embed_dim": (8, 8, 8, 8),
        "num_heads": (1, 1, 1, 1), "num_groups": (1, 1, 1, 1), "window_size": 4,
        "projection_dim": 16, "max_temporal_embeddings": 8, "max_position_embeddings": 8,
    }  # fmt: skip
    config = Florence2Config(
        vision_config=vision, text_config=text.to_dict(), image_token_id=tokenizer.image_token_id
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Florence2ForConditionalGeneration(config)
        for weight in model.parameters():
            weight.data.mul_(8)  # so that what is asked matters
    model.save_pretrained(folder)
    Florence2Processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder
