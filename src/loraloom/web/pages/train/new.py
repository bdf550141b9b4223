"""A new run: what it learns from, on which base, how; what it will take; and its start."""

from __future__ import annotations

import re
import secrets
import shutil
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from loraloom import config_tree, kinds
from loraloom.config import Tree
from loraloom.config_tree import to_toml
from loraloom.dataset.reference import REFERENCE, is_stored
from loraloom.errors import ConfigInvalid, DatasetUnknown, JobUnknown, LoraloomError, PlanFailed
from loraloom.families.installed import Base, describe, installed
from loraloom.kinds import Kind
from loraloom.settings import STARTER
from loraloom.studio import described, draft, plans, starting
from loraloom.studio.checks import Aim, Running
from loraloom.studio.draft import Draft, Remark
from loraloom.studio.job import Job
from loraloom.studio.measured import measured
from loraloom.studio.plans import Plan
from loraloom.studio.readiness import Readiness
from loraloom.studio.rights import Person
from loraloom.studio.studio import Studio
from loraloom.studio.workbench import Workbench
from loraloom.train import fit, recipe
from loraloom.train.recipe import Preset
from loraloom.web import form
from loraloom.web.bench import BenchNow
from loraloom.web.render import back, page
from loraloom.web.texts import translate as _
from loraloom.web.who import PersonNow, StudioNow

router = APIRouter(prefix="/train")
PRESETS: tuple[Preset, ...] = ("beginner", "standard", "expert")
PARENTS = "parent"
"""In the place of a dataset: what the parent learnt from, where that is no stored dataset."""
_KEPT = ("dataset", "version", "base", "kind", "trigger", "preset", "from", "name", "all")
_MOST_FIELDS = 400


async def fields(request: Request) -> dict[str, str]:
    """What the form says, by GET or by POST; the last of several values."""
    given = request.query_params if request.method == "GET" else await request.form()
    pairs = list(given.multi_items())[:_MOST_FIELDS]
    return {key: value for key, value in pairs if isinstance(value, str)}


Fields = Annotated[dict[str, str], Depends(fields)]


@dataclass(frozen=True)
class Wish:
    """What the form asks for."""

    values: Mapping[str, str]
    """As they are shown in the form."""
    tree: Tree
    preset: Preset
    parent: Job | None
    problem: str = ""
    """What cannot be understood of it."""


@router.get("/new")
def new(
    request: Request, studio: StudioNow, bench: BenchNow, person: PersonNow, given: Fields
) -> Response:
    """The form, with all that follows from what is filled in."""
    wish = _wish(studio, given)
    return _page(request, studio, bench, person, wish, makes_plan="plan" in given)


@router.post("/new")
def start(
    request: Request, studio: StudioNow, bench: BenchNow, person: PersonNow, given: Fields
) -> Response:
    """Start it; where something stands in its way, the form again with what that is."""
    wish = _wish(studio, given)
    told = repr(sorted((k, v) for k, v in wish.values.items() if k != "key"))
    key = f"form {given.get('key', '')[:64]} {sha256(told.encode()).hexdigest()}"
    try:
        if wish.problem:
            raise ConfigInvalid(wish.problem)
        draft.refuse_paths(wish.tree, studio.datasets)
        job, made = starting.start(
            studio.jobs, wish.tree, wish.preset, name=wish.values.get("name", ""),
            parent=wish.parent.id if wish.parent else None,
            project=studio.datasets.project_of(wish.tree), key=key, plans=studio.plans,
        )  # fmt: skip
    except LoraloomError:
        return _page(request, studio, bench, person, wish, status=422)
    said = _("%s is in the queue.") if made else _("%s was started already.")
    return back(f"/train/{job.id}", said % job.name)


def _page(
    request: Request,
    studio: Studio,
    bench: Workbench,
    person: Person,
    wish: Wish,
    *,
    makes_plan: bool = False,
    status: int = 200,
) -> Response:
    refused = _refusal(studio, wish)
    if refused:
        wish = _without_places(wish)
    found = draft.look(wish.tree, wish.preset)
    usable = not refused and not any(r.about in ("base", "settings") for r in found.blocking)
    plan, trouble = _plan(studio, found, makes_plan) if usable else (None, "")
    found = draft.look(wish.tree, wish.preset, studio.plans) if plan else found
    name, version, stored = _dataset(studio, wish)
    bases, changes = _bases(wish, person), _changes(wish, found)
    like = measured(studio.jobs, found.config, plan.device) if plan else None
    kept = {key: value for key, value in wish.values.items() if value and key != "key"}
    here = "/train/new" + ("?" + urlencode(kept) if kept else "")
    response = page(
        request,
        "train/new.html",
        status=status,
        values=wish.values,
        parent=wish.parent,
        changes=changes,
        deliberate=described.deliberate(changes),
        draft=found,
        blocking=[*refused, *found.blocking],
        checked=[_checked(bench, one, found.config.base) for one in found.checked],
        here=here,
        dataset=name,
        version=version,
        datasets=studio.datasets.names(),
        snapshots=stored,
        bases=bases,
        base=next((base for base in bases if base.name == found.config.base), None),
        kinds=[(kind.value, kinds.info(kind)) for kind in Kind],
        preset=wish.preset,
        presets=[(preset, _steps(wish, found, preset)) for preset in PRESETS],
        groups=_groups(wish, found),
        plan=plan,
        measured=like,
        seconds_a_step=(like or plan.unchanged).seconds_a_step if plan else None,
        free_bytes=shutil.disk_usage(studio.data).free,
        trouble=trouble,
        plan_key=plans.key(found.config) if usable else "",
        toml=to_toml(found.config),
        key=secrets.token_hex(8),
        inputs=form.inputs(),
    )
    response.headers["HX-Replace-Url"] = here
    return response


@dataclass(frozen=True)
class Checked:
    """What is known of a dataset, with a check that is under way."""

    readiness: Readiness
    running: Running | None
    mine: bool
    """Whether whoever asks may have it checked."""


def _checked(bench: Workbench, one: Readiness, base: str) -> Checked:
    running = bench.checks.running(bench.store.open(one.dataset), Aim(one.kind, base))
    return Checked(one, running, bench.store.is_own(one.dataset))


def _wish(studio: Studio, given: Mapping[str, str]) -> Wish:
    parent = None
    try:
        if given.get("from", "").isdecimal():
            parent = studio.jobs.get(int(given["from"][:9]))
    except JobUnknown:
        return Wish({}, {}, "standard", None, _("The run that this was to be made from is gone."))
    values = {key: value for key, value in given.items() if key in _KEPT or key in form.inputs()}
    if parent is not None and "dataset" not in given:
        values = {**_filled_from(parent), **values}
    for assignment in [given["set"]] if given.get("set") else []:
        for part in assignment.split("\n"):
            key, _equals, value = part.partition("=")
            if key in form.inputs():
                values[key] = form.inputs()[key].show(_toml_value(value))
    if not _has_version(studio, values):
        values.pop("version", None)  # of the dataset that was chosen before
    asked = values.get("preset", "standard")
    preset: Preset = asked if asked in PRESETS else "standard"
    return Wish(values, _tree(values, parent), preset, parent)


def _has_version(studio: Studio, values: Mapping[str, str]) -> bool:
    version = values.get("version", "")
    try:
        known = studio.datasets.open(values.get("dataset", "")).snapshots() if version else []
    except DatasetUnknown:
        return False
    return any(one.hash.startswith(version) for one in known) and bool(version)


def _tree(values: Mapping[str, str], parent: Job | None) -> Tree:
    """The settings that the form means."""
    top = {"base": values.get("base", ""), "kind": values.get("kind", "")}
    own = {key: value.strip() for key, value in top.items() if value.strip()}
    if values.get("trigger", "").strip():
        own["trigger"] = " ".join(values["trigger"].split())
    rest = {k: v for k, v in values.items() if k not in ("base", "kind", "trigger", "data.folder")}
    tree = config_tree.merge(
        form.read({k: v for k, v in rest.items() if k != "data.concepts"}), own
    )
    dataset, version = values.get("dataset", ""), values.get("version", "")
    data: Tree = {}
    if dataset == PARENTS and parent is not None:
        old = tomllib.loads(parent.settings)["data"]
        data = {key: old[key] for key in ("folder", "concepts") if key in old}
    elif dataset:
        exact = re.fullmatch(r"[0-9a-f]{4,64}", version)
        data = {"folder": f"{dataset}@{version}" if exact else dataset}
    return config_tree.merge(tree, {"data": data}) if data else tree


def _filled_from(job: Job) -> dict[str, str]:
    """The form as it would have led to a run: what is as the recipe has it stays empty."""
    tree = tomllib.loads(job.settings)
    folder = str(tree["data"].get("folder", ""))
    stored = REFERENCE.fullmatch(folder) if is_stored(folder) else None
    values = {
        "base": tree["base"], "kind": tree["kind"], "trigger": tree.get("trigger", ""),
        "name": job.name, "dataset": stored[1] if stored else PARENTS,
        "version": (stored[2] or "") if stored else "",
    }  # fmt: skip
    try:
        wanted = config_tree.validate(tree)
    except ConfigInvalid:
        return values
    usual = draft.look(_tree(values, job)).config
    for name, one in form.inputs().items():
        if name in form.TOP - {
            "samples.prompts",
            "adapter.type",
            "about.description",
            "about.tags",
        }:
            continue
        value = draft.value_of(wanted, name)
        if value is not None and value != draft.value_of(usual, name):
            values[name] = one.show(value)
            usual = draft.look(_tree(values, job)).config  # on which later ones may depend
    return values


def _refusal(studio: Studio, wish: Wish) -> list[Remark]:
    if wish.problem:
        return [Remark("settings", wish.problem)]
    try:
        draft.refuse_paths(wish.tree, studio.datasets)
    except ConfigInvalid as error:
        return [Remark("settings", str(error))]
    return []


def _without_places(wish: Wish) -> Wish:
    """Of what is refused nothing is looked at."""
    tree = {key: value for key, value in wish.tree.items() if key not in ("base", "prior", "data")}
    return replace(wish, tree=tree)


def _plan(studio: Studio, found: Draft, makes: bool) -> tuple[Plan | None, str]:
    known = studio.plans.known(found.config)
    if known or not makes:
        return known, ""
    try:
        return studio.plans.make(found.config), ""
    except PlanFailed as error:
        return None, str(error)


def _dataset(studio: Studio, wish: Wish) -> tuple[str, str, list[Any]]:
    """The dataset chosen, its version, and the versions there are, the newest first."""
    name, version = wish.values.get("dataset", ""), wish.values.get("version", "")
    try:
        stored = studio.datasets.open(name).snapshots() if name and name != PARENTS else []
    except DatasetUnknown:
        stored = []
    return name, version, stored[::-1]


def _bases(wish: Wish, person: Person) -> list[Base]:
    """Those installed; and the folder that the owner named, as it is."""
    found = installed()
    named = wish.values.get("base") or STARTER
    if named not in {base.name for base in found} and person.is_owner:
        with suppress(LoraloomError):
            found.append(describe(named))
    return found


def _steps(wish: Wish, found: Draft, preset: Preset) -> int:
    """How many a preset makes."""
    if draft.value_of(found.config, "schedule.steps") and wish.values.get("schedule.steps"):
        return found.config.schedule.steps
    images = found.pictures.count if found.pictures else None
    count = images or kinds.info(found.config.kind).recommended_from
    tree = {"kind": found.config.kind.value, "data": {"folder": "."}}
    if found.info.experts:
        tree["expert"] = found.config.expert or found.info.experts[0]
    return recipe.fill(tree, found.info, found.profile, count, preset).schedule.steps


@dataclass(frozen=True)
class Filled:
    """An input with what stands in it."""

    input: form.Input
    value: str
    usual: str
    """What it is when left empty."""


def _groups(wish: Wish, found: Draft) -> list[tuple[form.Group, list[Filled]]]:
    """The settings that have an effect here, and those that were given."""
    idle = fit.idle_settings(found.config, found.info) | form.TOP
    given = {name for name in form.inputs() if wish.values.get(name, "").strip()} - form.TOP
    rows = []
    for group in form.groups():
        filled = []
        for one in group.inputs:
            if one.name in idle and one.name not in given:
                continue
            if one.name in given:
                usual = draft.own_default(wish.tree, one.name, found, wish.preset)
            else:
                usual = draft.value_of(found.config, one.name)
            filled.append(Filled(one, wish.values.get(one.name, ""), one.show(usual)))
        if filled:
            rows.append((group, filled))
    return rows


def _changes(wish: Wish, found: Draft) -> dict[str, list[Any]]:
    if wish.parent is None:
        return {}
    new_tree = tomllib.loads(to_toml(found.config))
    return described.differences(tomllib.loads(wish.parent.settings), new_tree)


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"v = {text.strip()}")["v"]
    except ValueError:
        return text.strip()
