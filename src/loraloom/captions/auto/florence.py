"""Florence-2 (Xiao et al. 2023, arXiv:2311.06242), by transformers' own class of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from transformers import AutoProcessor, Florence2ForConditionalGeneration

from loraloom.captions.auto import defaults
from loraloom.captions.auto.answer import Answer, Failure, Seen
from loraloom.captions.auto.reply import caption_in
from loraloom.captions.auto.source import Task, read_config
from loraloom.errors import TaggerUnusable


class Florence2:
    """The model in a folder that transformers wrote; `task` is how much it says."""

    style: Literal["sentences"] = "sentences"
    frames = 1

    def __init__(self, folder: Path, task: Task, name: str = "") -> None:
        """Raises TaggerUnusable."""
        chosen = defaults.florence()
        self.name = name or str(folder)
        self.batch = chosen.batch
        self.fingerprint = f"florence-2 {self.name} {task}"
        self._task: str = getattr(chosen, task)
        self._search = {"max_new_tokens": chosen.tokens, "num_beams": chosen.beams}
        _refuse_own_program(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        try:
            model, loaded = Florence2ForConditionalGeneration.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
            self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0][:200]
            raise TaggerUnusable(
                f"{folder} is no Florence-2 that transformers can read ({reason}); fetch it again."
            ) from error
        if lacking := sorted(loaded["missing_keys"]):
            raise TaggerUnusable(
                f"{folder} lacks {len(lacking)} weights of a Florence-2, such as {lacking[0]}; "
                "fetch it again."
            )
        self._model = model.to(device).eval()

    @torch.inference_mode()
    def describe(self, seen: Sequence[Seen]) -> list[Answer | Failure]:
        """One text a picture."""
        pictures = [frames[0] for frames in seen]
        inputs = self._processor(
            text=[self._task] * len(pictures), images=pictures, return_tensors="pt", padding=True
        )
        inputs = inputs.to(self._model.device, self._model.dtype)  # only floats change their type
        ids = self._model.generate(**inputs, **self._search, do_sample=False)
        texts = self._processor.batch_decode(ids, skip_special_tokens=True)
        return [caption_in(text) for text in texts]


def _refuse_own_program(folder: Path) -> None:
    if "auto_map" in read_config(folder):
        raise TaggerUnusable(
            f"{folder} is the edition of Florence-2 that brings its own program, which is never "
            f"run; take {defaults.models()['florence-2']}."
        )
