"""Starting runs: checked, completed, and once for each time that it was asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

from loraloom import config_tree
from loraloom.config import Tree
from loraloom.dataset.snapshot import clean_name
from loraloom.errors import ConfigInvalid, StartRefused
from loraloom.studio import draft
from loraloom.studio.anchored import anchored
from loraloom.studio.datasets import Datasets
from loraloom.studio.job import Job
from loraloom.studio.jobs import Jobs, Start
from loraloom.studio.plans import Plans
from loraloom.train import recipe
from loraloom.train.recipe import Preset

LONGEST_NAME = 120
MOST_OF_A_SWEEP = 20


def start(
    jobs: Jobs,
    tree: Tree,
    preset: Preset = "standard",
    *,
    name: str = "",
    priority: int = 0,
    parent: int | None = None,
    project: int | None = None,
    key: str | None = None,
    plans: Plans | None = None,
) -> tuple[Job, bool]:
    """Queue a run, and whether this call has: not where one was queued by the same `key`.

    A stored dataset is kept as a snapshot. Raises StartRefused with all that stands in the way,
    JobRefused where another run was queued by the key, JobUnknown for the parent.
    """
    asked = Start.of(key, [tree, preset, name, priority, parent])
    if asked and (found := jobs.started(asked)):
        return found, False
    found_draft = draft.look(tree, preset, plans)
    if found_draft.blocking:
        raise StartRefused([remark.sentence for remark in found_draft.blocking])
    config = anchored(recipe.resolve(tree, preset=preset))
    called = clean_name(name)[:LONGEST_NAME] or _usual_name(tree)
    job = jobs.add(config, called, priority=priority, parent=parent, project=project, start=asked)
    return job, True


def sweep(
    jobs: Jobs, datasets: Datasets, job_id: int, setting: str, values: Sequence[str]
) -> list[Job]:
    """A run for each value of one setting, all else as in a run there was, which is their parent.

    All are checked before the first is queued. Raises ConfigInvalid, also where they name what the
    person may not (`draft.refuse_paths`), and StartRefused.
    """
    parent = jobs.get(job_id)
    given = list(dict.fromkeys(value.strip() for value in values if value.strip()))
    if not given or len(given) > MOST_OF_A_SWEEP:
        raise ConfigInvalid(
            f"A sweep takes 1 to {MOST_OF_A_SWEEP} different values of a setting, and {len(given)} "
            "were given."
        )
    tree = tomllib.loads(parent.settings)
    trees = [
        config_tree.merge(tree, config_tree.parse_assignment(f"{setting}={value}"))
        for value in given
    ]
    for one in trees:
        draft.refuse_paths(one, datasets)
    problems = [
        f"{setting} = {value}: {remark.sentence}"
        for value, one in zip(given, trees, strict=True)
        for remark in draft.look(one).blocking
    ]
    if problems:
        raise StartRefused(problems)
    short = setting.rpartition(".")[2].replace("_", " ")
    return [
        start(
            jobs,
            one,
            name=f"{parent.name[:80]} · {short} {value}",
            parent=parent.id,
            project=parent.project_id,
        )[0]
        for value, one in zip(given, trees, strict=True)
    ]


def _usual_name(tree: Tree) -> str:
    data = tree.get("data") or {}
    folder = data.get("folder") or next((c["folder"] for c in data.get("concepts") or ()), "")
    return str(folder).rstrip("/").rpartition("/")[2].partition("@")[0] or "run"
