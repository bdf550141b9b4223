"""The starter base's tokenizer: byte-level BPE whose merges are the world's own words.

Every word of a caption is one token; any other word falls apart into bytes, so that any word can
be a trigger.
"""

from __future__ import annotations

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from loraloom.starter.training.pictures import scene_of
from loraloom.starter.world.scene import caption

START, END = "<|startoftext|>", "<|endoftext|>"
TOKEN_LIMIT = 77
CAPTIONS = 4_000


def build_tokenizer() -> CLIPTokenizer:
    """Train the merges on captions of the base split; the same captions give the same file."""
    plain = CLIPTokenizer()
    bpe = Tokenizer(BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = plain.backend_tokenizer.normalizer
    bpe.pre_tokenizer = plain.backend_tokenizer.pre_tokenizer
    trainer = BpeTrainer(
        vocab_size=4_000,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator((caption(scene_of("base", i)) for i in range(CAPTIONS)), trainer)
    vocab, merges = _with_final_bytes(bpe)
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TOKEN_LIMIT)


def _with_final_bytes(bpe: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges, with every byte also as the last of a word."""
    import json

    model = json.loads(bpe.to_str())["model"]
    vocab: dict[str, int] = dict(model["vocab"])
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocab.setdefault(f"{byte}</w>", len(vocab))
    return vocab, [tuple(pair) for pair in model["merges"]]
