"""The starter base's tokenizer: byte-level BPE whose merges are the world's own words.

Every word of a caption is one token; any other word falls apart into bytes, so that any word can
be a trigger. The merges are learned here and not by the tokenizers library, whose trainer numbers
its letters differently in each process: a resumed training would read other words.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

from loraloom.starter.training.pictures import scene_of
from loraloom.starter.world.scene import caption

START, END = "<|startoftext|>", "<|endoftext|>"
TOKEN_LIMIT = 77
CAPTIONS = 4_000

Pair = tuple[str, str]


def build_tokenizer() -> CLIPTokenizer:
    """Train the merges on captions of the base split; the same captions give the same file."""
    plain = CLIPTokenizer().backend_tokenizer
    words: Counter[str] = Counter()
    for index in range(CAPTIONS):
        text = plain.normalizer.normalize_str(caption(scene_of("base", index)))
        words.update(word for word, _ in plain.pre_tokenizer.pre_tokenize_str(text))
    merges = learn_merges(words)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    whole = [START, END, *letters, *(f"{letter}</w>" for letter in letters)]
    tokens = dict.fromkeys([*whole, *(a + b for a, b in merges)])
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TOKEN_LIMIT)


def learn_merges(words: Counter[str]) -> list[Pair]:
    """Byte pair merges (Sennrich et al. 2016, algorithm 1) until each word is one token; of pairs
    that are equally frequent, the first in the alphabet."""
    split = {word: [*word[:-1], f"{word[-1]}</w>"] for word in sorted(words)}
    merges: list[Pair] = []
    while True:
        pairs: Counter[Pair] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in split.items():
            split[word] = _merged(parts, best)


def _merged(parts: list[str], pair: Pair) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged
