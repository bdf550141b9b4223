"""PEFT's LoraConfig beside or inside an adapter file: it holds what the tensors do not, alpha."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from loraloom.adapters.keys import place
from loraloom.adapters.state import AdapterState
from loraloom.errors import AdapterUnreadable

METADATA_KEY = "lora_adapter_metadata"  # diffusers/loaders/lora_base.py
BESIDE = "adapter_config.json"  # PEFT's save_pretrained


def for_diffusers(state: AdapterState) -> str:
    """JSON for `METADATA_KEY`: one LoraConfig, each key prefixed with its component.

    Target modules go without `text_model.`: PEFT matches path ends, so they fit both the CLIP
    of transformers 4 and that of transformers 5.
    """
    config: dict[str, object] = {}
    for component, modules in sorted(state.items()):
        first = modules[min(modules)]
        ranks = {f"^{path}": lora.rank for path, lora in modules.items() if lora.rank != first.rank}
        alphas = {
            f"^{path}": lora.alpha for path, lora in modules.items() if lora.alpha != first.alpha
        }
        config |= {
            f"{component}.r": first.rank,
            f"{component}.lora_alpha": first.alpha,
            f"{component}.target_modules": sorted(modules),
            f"{component}.rank_pattern": ranks,
            f"{component}.alpha_pattern": alphas,
        }
    return json.dumps(config, sort_keys=True)


def alphas(
    path: Path, names: Iterable[str], metadata: Mapping[str, str]
) -> dict[tuple[str, str], float]:
    """Alpha by (component, module path), as far as the file or the config beside it tells.

    Raises AdapterUnreadable when the config is there and broken.
    """
    beside = path.with_name(BESIDE)
    if METADATA_KEY in metadata:
        config = _table(metadata[METADATA_KEY], f"the metadata {METADATA_KEY}")
    elif beside.is_file():
        config = _table(beside.read_text(encoding="utf-8", errors="replace"), str(beside))
    else:
        return {}
    places = {(where.component, where.module) for name in names if (where := place(name))}
    found = {key: _alpha(config, *key) for key in places}
    return {key: alpha for key, alpha in found.items() if alpha is not None}


def _alpha(config: Mapping[str, object], component: str, module: str) -> float | None:
    prefix = f"{component}." if f"{component}.lora_alpha" in config else ""
    patterns = config.get(f"{prefix}alpha_pattern")
    value = config.get(f"{prefix}lora_alpha")
    for pattern, special in (patterns if isinstance(patterns, dict) else {}).items():
        if f".{module}".endswith("." + pattern.removeprefix("^")):
            value = special
    return float(value) if isinstance(value, int | float) else None


def _table(text: str, where: str) -> dict[str, object]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise AdapterUnreadable(f"{where} is no JSON: {e}.") from e
    if not isinstance(config, dict):
        raise AdapterUnreadable(f"{where} is no JSON table.")
    return config
