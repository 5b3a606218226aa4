"""Figures from papers, to stand beside measured ones: where each was read, and which disagree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from ddbench.errors import UserError
from ddbench.io.documents import parse_yaml, read_bytes
from ddbench.records.fields import complaint
from ddbench.records.schema import Cell, Setting, Strict

MOST_BYTES = 2**20
"""of a file of figures, which PyYAML reads in two seconds; the one that ships has 43 kB"""
SHIPPED = (Path(__file__).parent / "published.yaml").resolve()
"""the figures that come with it"""


class Figure(Strict):
    """One published accuracy."""

    method: str
    variant: dict[str, bool | int | float | str] = {}
    """hyper-parameters that it was published with, where a method has several forms; pixels are stored unless it names
    a `decoder`"""
    dataset: str
    ipc: int | None = Field(default=None, gt=0)
    """None for all training images"""
    network: str
    """that the images were made with, and scored with unless `scored` names another"""
    scored: str | None = None
    """a network that was trained on images of another: then it stands beside what was scored in the same way alone"""
    setting: Setting = "random"
    pool: str | None = None
    """what given networks were trained on"""
    preprocessing: str = "normalize"
    protocol: str | None = None
    """None where it was scored in a way that is no protocol here: then it is compared with nothing"""
    accuracy: float = Field(gt=0, le=100)
    """percent"""
    plus_minus: float | None = Field(default=None, ge=0)
    """as printed behind the figure; most papers print the standard deviation over evaluation networks"""
    source: str
    read: bool
    """whether `source` is the method's own paper, repository or page; otherwise it quotes it"""
    conflict: bool = False
    """whether sources disagree on this cell"""

    @model_validator(mode="after")
    def _of_another(self) -> Figure:
        if self.scored == self.network:
            raise ValueError(f"scored repeats network {self.network!r}; leave it out")
        return self

    def fits(self, cell: Cell, scored: str | None = None, protocol: str | None = None) -> bool:
        """Whether it was measured as the cell was.

        Args:
            scored: a further network that the cell's artefacts were scored with
            protocol: the protocol of that, the cell's unless given
        """
        own = (
            cell.method, cell.dataset, cell.ipc, str(cell.network), scored, cell.setting,
            cell.pool and cell.pool.name, cell.preprocessing, protocol or cell.protocol,
        )  # fmt: skip
        settings = {"decoder": "pixels"} | cell.hyperparameters
        alike = all(settings.get(name) == value for name, value in ({"decoder": "pixels"} | self.variant).items())
        return self._conditions == own and cell.split == "test" and cell.peek is None and alike

    @property
    def cell(self) -> tuple[Any, ...]:
        """What a second figure must share to be of the same thing."""
        return (*self._conditions, tuple(sorted(self.variant.items())))

    @property
    def _conditions(self) -> tuple[Any, ...]:
        return (
            self.method, self.dataset, self.ipc, self.network, self.scored, self.setting, self.pool,
            self.preprocessing, self.protocol,
        )  # fmt: skip


class Published(Strict):
    """The content of `published.yaml`."""

    sources: dict[str, str] = {}
    """where a figure was read, a sentence by key"""
    entries: tuple[Figure, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Published:
        by_cell: dict[tuple[Any, ...], list[Figure]] = {}
        for figure in self.entries:
            if figure.source not in self.sources:
                raise ValueError(f"source {figure.source!r} of {_named(figure)} is not among the sources")
            by_cell.setdefault(figure.cell, []).append(figure)
        for figures in by_cell.values():
            disagree = len({figure.accuracy for figure in figures}) > 1
            if any(figure.conflict != disagree for figure in figures):
                raise ValueError(
                    f"the sources of {_named(figures[0])} {'disagree' if disagree else 'agree'}; "
                    f"set conflict: {str(disagree).lower()} on each"
                )
        return self

    def of(self, cell: Cell) -> tuple[Figure, ...]:
        """The figures to compare a cell's headline with, those of the method's own authors first."""
        return _authors_first(figure for figure in self.entries if figure.fits(cell))

    def across(self, cell: Cell) -> tuple[Figure, ...]:
        """The figures to compare what `Cell.also` adds with: of other networks on such images."""
        return _authors_first(
            figure
            for figure in self.entries
            if any(figure.fits(cell, str(way.network), way.protocol) for way in cell.also or ())
        )


def load_published(path: Path = SHIPPED) -> Published:
    """The published figures of a file; none where there is no file.

    Raises:
        UserError: when the file is no YAML, or an entry is not complete, of an unknown source, or not flagged rightly.
    """
    if not path.exists():
        return Published()
    try:
        content = parse_yaml(read_bytes(path, MOST_BYTES))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    try:
        return Published.model_validate(content)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(map(str, detail["loc"]))
        raise UserError(f"{path}: {place + ': ' if place else ''}{complaint(detail)}") from error


def published_beside(folder: Path) -> Published:
    """The figures that lie in a folder of tables, or else those that come with ddbench."""
    own = folder / "published.yaml"
    return load_published(own if own.is_file() else SHIPPED)


def footnotes(figures: Sequence[Figure], published: Published) -> list[str]:
    """One line for each source: what it is, and the figures that a table shows from it."""
    found: dict[tuple[str, bool], list[str]] = {}
    for figure in figures:
        spread = f" ± {figure.plus_minus:g}" if figure.plus_minus is not None else ""
        doubt = " (sources disagree)" if figure.conflict else ""
        text = f"{_named(figure)} {figure.accuracy:g}{spread}{doubt}"
        listed = found.setdefault((figure.source, figure.read), [])
        if text not in listed:
            listed.append(text)
    return [
        f"{published.sources[source].rstrip('.')}{': ' if read else ', quoted there: '}{'; '.join(texts)}"
        for (source, read), texts in sorted(found.items())
    ]


def _authors_first(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    return tuple(sorted(figures, key=lambda figure: not figure.read))


def _named(figure: Figure) -> str:
    variant = "".join(f", {name}={value}" for name, value in figure.variant.items())
    scored = f", scored with {figure.scored}" if figure.scored else ""
    return f"{figure.method}{variant} on {figure.dataset} at ipc {figure.ipc}{scored}"
