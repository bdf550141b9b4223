"""Everything that a server works on: the data folder, the database, and what lies in both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from loraloom.dataset.store import Store
from loraloom.settings import data_folder
from loraloom.studio.database import Database, open_database
from loraloom.studio.datasets import Datasets
from loraloom.studio.grids import Grids
from loraloom.studio.jobs import Jobs
from loraloom.studio.library import Library
from loraloom.studio.people import People
from loraloom.studio.pictures import Pictures
from loraloom.studio.plans import Plans
from loraloom.studio.projects import Projects
from loraloom.studio.rights import Person
from loraloom.studio.sessions import Sessions
from loraloom.studio.tokens import Tokens
from loraloom.studio.verdicts import Verdicts


@dataclass(frozen=True)
class Studio:
    """One installation."""

    data: Path
    database: Database
    jobs: Jobs
    datasets: Datasets
    plans: Plans
    people: People
    sessions: Sessions
    tokens: Tokens
    library: Library
    pictures: Pictures
    grids: Grids
    projects: Projects
    verdicts: Verdicts

    def seen_by(self, person: Person) -> Studio:
        """With all that can be owned as somebody sees it."""
        return replace(
            self, jobs=self.jobs.seen_by(person), datasets=self.datasets.seen_by(person),
            library=self.library.seen_by(person), pictures=self.pictures.seen_by(person),
            grids=self.grids.seen_by(person), projects=self.projects.seen_by(person),
            verdicts=self.verdicts.seen_by(person),
        )  # fmt: skip


def open_studio() -> Studio:
    """That of LORALOOM_HOME and LORALOOM_DATABASE. Raises DatabaseUnusable, DataNewer."""
    database = open_database()
    jobs, library, datasets = Jobs(database), Library(database), Datasets(Store())
    pictures = Pictures(database, library, jobs)
    return Studio(
        data_folder(), database, jobs, datasets, Plans(), People(database), Sessions(database),
        Tokens(database), library, pictures, Grids(library, jobs),
        Projects(database, datasets, jobs, library, pictures), Verdicts(database, jobs),
    )  # fmt: skip
