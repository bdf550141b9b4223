"""PEFT's config beside or inside an adapter file: it holds what the tensors do not, as alpha."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from peft.tuners.lokr.layer import factorization

from loraloom.adapters.keys import place
from loraloom.adapters.state import AdapterState
from loraloom.adapters.weights import (
    BoftWeights,
    LohaWeights,
    LokrWeights,
    LoraWeights,
    OftWeights,
    Weights,
)
from loraloom.errors import AdapterKeysUnknown, AdapterUnreadable

METADATA_KEY = "lora_adapter_metadata"  # diffusers/loaders/lora_base.py
BESIDE = "adapter_config.json"  # PEFT's save_pretrained
_OWN = ("use_rslora", "use_cayley_neumann", "num_cayley_neumann_terms", "coft", "block_share", "r",
        "oft_block_size")  # fmt: skip
"""What of a config decides how tensors are read."""


def for_diffusers(state: AdapterState) -> str:
    """JSON for `METADATA_KEY`: one config of peft, each key prefixed with its component.

    Target modules go without `text_model.`: PEFT matches path ends, so they fit both the CLIP
    of transformers 4 and that of transformers 5.
    """
    config = {
        f"{component}.{name}": value
        for component, modules in sorted(state.items())
        for name, value in of_component(modules).items()
    }
    return json.dumps(config, sort_keys=True)


def of_component(modules: Mapping[str, Weights]) -> dict[str, object]:
    """The settings with which peft makes one component's adapter again.

    Raises AdapterKeysUnknown for what peft cannot make.
    """
    targets: dict[str, object] = {"target_modules": sorted(modules)}
    first = modules[min(modules)]
    kinds = {type(weights) for weights in modules.values()}
    if len(kinds) > 1:
        raise AdapterKeysUnknown("It holds adapters of several kinds, which peft keeps apart.")
    if isinstance(first, OftWeights):
        return targets | {
            "r": 0, "oft_block_size": _one("block_size", modules),
            "use_cayley_neumann": bool(first.terms),
            **({"num_cayley_neumann_terms": first.terms} if first.terms else {}),
        }  # fmt: skip
    if isinstance(first, BoftWeights):
        return targets | {
            "boft_block_size": _one("block_size", modules), "boft_n_butterfly_factor": 1
        }  # fmt: skip
    ranks, alphas = _ranks(modules)
    own: dict[str, object] = {}
    if isinstance(first, LoraWeights) and first.magnitude is not None:
        own["use_dora"] = True
    if isinstance(first, LokrWeights):
        own["decompose_factor"] = _factor(modules)
    alpha = "lora_alpha" if isinstance(first, LoraWeights) else "alpha"
    rank, usual = ranks[min(modules)], alphas[min(modules)]
    return (
        targets
        | own
        | {
            "r": rank,
            alpha: usual,
            "rank_pattern": {f"^{path}": r for path, r in ranks.items() if r != rank},
            "alpha_pattern": {f"^{path}": a for path, a in alphas.items() if a != usual},
        }
    )


def _ranks(modules: Mapping[str, Weights]) -> tuple[dict[str, int], dict[str, float]]:
    """What peft must be told as rank and alpha of each module."""
    ranks, alphas = {}, {}
    for path, weights in modules.items():
        assert isinstance(weights, LoraWeights | LohaWeights | LokrWeights)
        ranks[path], alphas[path] = weights.rank or 1, weights.alpha
        if isinstance(weights, LokrWeights) and weights.w2 is not None:
            # peft decides by the rank whether w2 is whole, and scales by it.
            ranks[path] = max(weights.w2.shape[:2])
            scale = weights.alpha / weights.rank if weights.rank else 1.0
            alphas[path] = scale * ranks[path]
    return ranks, alphas


def _factor(modules: Mapping[str, Weights]) -> int:
    """The `decompose_factor` by which peft comes to the same factors."""
    pairs: set[tuple[int, int]] = set()
    for weights in modules.values():
        assert isinstance(weights, LokrWeights)
        if weights.w1 is None or weights.t2 is not None:
            raise AdapterKeysUnknown("peft makes no LoKr whose w1 or t2 is decomposed so.")
        rows, columns = weights.size[0], weights.w1.shape[1] * _inner(weights)
        pairs |= {(rows, weights.w1.shape[0]), (columns, weights.w1.shape[1])}
    for factor in (-1, *sorted({small for _, small in pairs})):
        if all(factorization(whole, factor)[0] == small for whole, small in pairs):
            return factor
    raise AdapterKeysUnknown("peft does not factorise these widths as this LoKr does.")


def _inner(weights: LokrWeights) -> int:
    """Inputs of the large factor, kernel apart."""
    large = weights.w2 if weights.w2 is not None else weights.w2_b
    assert large is not None
    return large.shape[1]


def _one(name: str, modules: Mapping[str, Weights]) -> int:
    values = Counter(int(getattr(weights, name)) for weights in modules.values())
    if len(values) > 1:
        raise AdapterKeysUnknown(f"peft makes no adapter of several values of {name}: {values}.")
    return next(iter(values))


def facts(
    path: Path, names: Iterable[str], metadata: Mapping[str, str]
) -> dict[tuple[str, str], dict[str, object]]:
    """What the config in or beside the file says of how the tensors of each (component, module
    path) are read, its own rank among it.

    Raises AdapterUnreadable when the config is there and broken.
    """
    config = _config(path, metadata)
    found: dict[tuple[str, str], dict[str, object]] = {}
    for component, module in _places(names):
        prefix = _prefix(config, component)
        told = {name: config[prefix + name] for name in _OWN if prefix + name in config}
        rank = _special(config, prefix + "rank_pattern", module, told.get("r"))
        found[component, module] = told if rank is None else {**told, "r": rank}
    return found


def alphas(
    path: Path, names: Iterable[str], metadata: Mapping[str, str]
) -> dict[tuple[str, str], float]:
    """Alpha by (component, module path), as far as the file or the config beside it tells.

    Raises AdapterUnreadable when the config is there and broken.
    """
    config = _config(path, metadata)
    found = {key: _alpha(config, *key) for key in _places(names)}
    return {key: alpha for key, alpha in found.items() if alpha is not None}


def _alpha(config: Mapping[str, object], component: str, module: str) -> float | None:
    prefix = _prefix(config, component)
    usual = config.get(f"{prefix}lora_alpha", config.get(f"{prefix}alpha"))
    value = _special(config, f"{prefix}alpha_pattern", module, usual)
    return float(value) if isinstance(value, int | float) else None


def _special(config: Mapping[str, object], patterns: str, module: str, usual: object) -> object:
    """A module's own value where the config has a pattern for it."""
    table = config.get(patterns)
    for pattern, special in (table if isinstance(table, dict) else {}).items():
        if f".{module}".endswith("." + pattern.removeprefix("^")):
            usual = special
    return usual


def _prefix(config: Mapping[str, object], component: str) -> str:
    """What the keys of a component begin with; a config of one component has none."""
    begin = f"{component}."
    return begin if any(key.startswith(begin) for key in config) else ""


def _places(names: Iterable[str]) -> set[tuple[str, str]]:
    return {(where.component, where.module) for name in names if (where := place(name))}


def _config(path: Path, metadata: Mapping[str, str]) -> dict[str, object]:
    """The config in the file, else the one beside it, else nothing."""
    beside = path.with_name(BESIDE)
    if METADATA_KEY in metadata:
        return _table(metadata[METADATA_KEY], f"the metadata {METADATA_KEY}")
    if beside.is_file():
        return _table(beside.read_text(encoding="utf-8", errors="replace"), str(beside))
    return {}


def _table(text: str, where: str) -> dict[str, object]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise AdapterUnreadable(f"{where} is no JSON: {e}.") from e
    if not isinstance(config, dict):
        raise AdapterUnreadable(f"{where} is no JSON table.")
    return config
