"""The rows of a study and every run that they need."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ddbench.boards.board import make_board
from ddbench.boards.jobs import Job, resolve
from ddbench.data import load_dataset
from ddbench.errors import UserError, suggestion
from ddbench.records.cell import CEILING, Cell
from ddbench.records.notation import parse_settings
from ddbench.registry import METHODS
from ddbench.studies.board import StudyBoard
from ddbench.studies.study import Part, Study, make_study

CEILING_PROTOCOL = "full-data-10@1"
"""how networks are trained on all training data"""


@dataclass(frozen=True)
class Seed:
    """One seed of a row: what it distils."""

    number: int
    parts: tuple[Part, ...]
    jobs: tuple[Job, ...]
    """one a part"""


@dataclass(frozen=True)
class Row:
    """A method of a study, or a variant of one.

    Args:
        job: a run on the whole data set that is not carried out; its cell names the row
        variant: how the study uses the method, where that is not the usual way
    """

    job: Job
    variant: str | None
    seeds: tuple[Seed, ...]

    @property
    def cell(self) -> Cell:
        return self.job.cell

    @property
    def label(self) -> str:
        return f"{self.variant}:{self.cell.method}" if self.variant else self.cell.method


def resolve_rows(board: StudyBoard, device: str) -> tuple[Study, list[Row]]:
    """The study of a board, and its rows with every run that they need.

    Raises:
        UserError: for an unknown name, or a part that does not fit.
    """
    study = make_study(board.study, board.settings)
    study.check(load_dataset(board.dataset))
    return study, [_row(board, study, text, device) for text in _texts(board, study)]


def _texts(board: StudyBoard, study: Study) -> list[str]:
    """Return the rows of a board, each once."""
    added = [text.format(first=board.methods[0]) for text in study.references] if board.references else []
    known = dict[tuple[str, str], str]()
    for text in (*board.methods, *added):
        variant, rest = _split(text, study)
        name, comma, settings = rest.partition(",")
        canonical = name if name.endswith(".py") else METHODS.canonical(name)
        known.setdefault((variant or "", canonical + comma + settings), text)
    return list(known.values())


def _split(text: str, study: Study) -> tuple[str | None, str]:
    """Return the variant that a row names, and what follows."""
    variant, colon, rest = text.partition(":")
    if not colon or "/" in variant or "\\" in rest[:1]:
        return None, text
    if variant not in study.variants:
        raise UserError(f"row {text!r}: {study.name} has no variant {variant!r}; {suggestion(variant, study.variants)}")
    alone = [known for known in study.references if known.partition(":")[0] == variant and "{" not in known]
    if alone and text not in alone:
        raise UserError(f"row {text!r}: {study.name} has this variant of one method alone; write {alone[0]}")
    return variant, rest


def _row(board: StudyBoard, study: Study, text: str, device: str) -> Row:
    variant, rest = _split(text, study)
    method, *settings = rest.split(",")
    try:
        given = parse_settings(settings)
    except ValueError as error:
        raise UserError(f"row {text!r}: {error}") from error
    on_all = not method.endswith(".py") and METHODS.canonical(method) == CEILING
    content = {
        "board": study.name,
        "datasets": [board.dataset],
        "ipc": [board.ipc],
        "network": board.network,
        "protocol": CEILING_PROTOCOL if on_all else board.protocol or study.protocol,
        "networks": 1 if on_all else board.networks or study.networks,
        "budget": board.seconds,
        "seeds": board.seeds or study.seeds,
        "snapshots": [],
        "threads": board.threads,
        "compile": board.compile,
        "entries": [{"methods": [method], "set": given}],
    }
    jobs = resolve(make_board(content, where=f"row {text!r}"), device)
    if jobs[0].protocol().kind == "krr":
        raise UserError(f"a study trains networks, and protocol {content['protocol']} trains none; name another")
    return Row(jobs[0], variant, tuple(_seed(study, job, variant, on_all) for job in jobs))


def _seed(study: Study, job: Job, variant: str | None, on_all: bool) -> Seed:
    parts = () if on_all else tuple(study.parts(load_dataset(job.dataset), variant, job.seed))
    return Seed(job.seed, parts, tuple(_run(job, part) for part in parts))


def _run(job: Job, part: Part) -> Job:
    """The run that distils a part, whose artefact the study measures itself.

    Raises:
        UserError: where the part has too few images, or the method cannot work with it.
    """
    cell = job.cell
    whole = part.split == "test"
    seconds = None if cell.budget.seconds is None else part.share * cell.budget.seconds
    changes = {
        "split": part.split,
        "dataset_digest": cell.dataset_digest if whole else f"{cell.dataset_digest}+{part.split}",
        "budget": cell.budget.model_copy(update={"seconds": seconds}),
    }
    own = cell.model_copy(update=changes)
    job.modality.check(own, job.dataset, job.make_method())
    return replace(job, cell=own, score=False)
