"""Published figures, which tables show beside measured ones: where each was read, and which disagree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from ddbench.errors import UserError
from ddbench.io.documents import parse_yaml, read_bytes
from ddbench.io.links import followed
from ddbench.records.cell import Cell, Setting
from ddbench.records.fields import Strict, complaint

MOST_BYTES = 2**20
"""largest size of a file of figures, which PyYAML reads in two seconds; the one that ships has 43 kB"""
SHIPPED = followed(Path(__file__).parent / "published.yaml")
"""file of the figures that come with ddbench"""


class Figure(Strict):
    """One published accuracy."""

    method: str
    variant: dict[str, bool | int | float | str] = {}
    """hyper-parameters that it was published with, where a method has several forms; pixels are stored unless it names
    a `decoder`"""
    dataset: str
    ipc: int | None = Field(default=None, gt=0)
    """images per class; None for all training images"""
    network: str
    """network that the images were made with, and scored with unless `scored` names another"""
    scored: str | None = None
    """network that was trained on images made with another; the figure stands only beside scores of the same kind"""
    setting: Setting = "random"
    pool: str | None = None
    """data set that the pretrained networks were trained on"""
    preprocessing: str = "normalize"
    protocol: str | None = None
    """protocol that it was scored under; None where ddbench has no such protocol: then it is compared with nothing"""
    accuracy: float = Field(gt=0, le=100)
    """accuracy in percent"""
    plus_minus: float | None = Field(default=None, ge=0)
    """number printed behind ±; most papers print the standard deviation over evaluation networks"""
    source: str
    read: bool
    """true where `source` is the method's own paper, repository or page; otherwise the source quotes the figure"""
    conflict: bool = False
    """true where sources disagree on this cell"""
    miscopied: bool = False
    """true where the source is known to have copied another cell's figure: it is shown, and compared with nothing"""

    @model_validator(mode="after")
    def _of_another(self) -> Figure:
        if self.scored == self.network:
            raise ValueError(f"scored repeats network {self.network!r}; leave it out")
        return self

    def fits(self, cell: Cell, scored: str | None = None, protocol: str | None = None) -> bool:
        """Return True if the figure was measured under the conditions of the cell.

        Args:
            scored: a further network that the cell's artefacts were scored with
            protocol: the protocol under which that network was scored, the cell's unless given
        """
        own = (
            cell.method, cell.dataset, cell.ipc, str(cell.network), scored, cell.setting,
            cell.pool and cell.pool.name, cell.preprocessing, protocol or cell.protocol,
        )  # fmt: skip
        settings = {"decoder": "pixels"} | cell.hyperparameters
        alike = all(settings.get(name) == value for name, value in ({"decoder": "pixels"} | self.variant).items())
        return not self.miscopied and self._conditions == own and cell.split == "test" and cell.peek is None and alike

    @property
    def cell(self) -> tuple[Any, ...]:
        """What two figures of the same cell share."""
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
    """sentences by key that say where figures were read"""
    entries: tuple[Figure, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Published:
        by_cell: dict[tuple[Any, ...], list[Figure]] = {}
        for figure in self.entries:
            if figure.source not in self.sources:
                raise ValueError(f"source {figure.source!r} of {_named(figure)} is not among the sources")
            if not figure.miscopied:
                by_cell.setdefault(figure.cell, []).append(figure)
        for figures in by_cell.values():
            disagree = len({figure.accuracy for figure in figures}) > 1
            if any(figure.conflict != disagree for figure in figures):
                raise ValueError(
                    f"the sources of {_named(figures[0])} {'disagree' if disagree else 'agree'}; "
                    f"set conflict: {str(disagree).lower()} on each"
                )
        return self

    @cached_property
    def _by_place(self) -> dict[tuple[Any, ...], list[Figure]]:
        found: dict[tuple[Any, ...], list[Figure]] = {}
        for figure in self.entries:
            found.setdefault((figure.method, figure.dataset, figure.ipc), []).append(figure)
        return found

    def _near(self, cell: Cell) -> list[Figure]:
        return self._by_place.get((cell.method, cell.dataset, cell.ipc), [])

    def of(self, cell: Cell) -> tuple[Figure, ...]:
        """Return the figures to compare with a cell's headline, those of the method's own authors first."""
        return _authors_first(figure for figure in self._near(cell) if figure.fits(cell))

    def across(self, cell: Cell) -> tuple[Figure, ...]:
        """Return the figures to compare with scores that `Cell.also` adds: other networks trained on such images."""
        return _authors_first(
            figure
            for figure in self._near(cell)
            if any(figure.fits(cell, str(way.network), way.protocol) for way in cell.also or ())
        )


def load_published(path: Path = SHIPPED) -> Published:
    """Load the published figures of a file; there are none where the file does not exist.

    Raises:
        UserError: when the file is no YAML, or an entry is incomplete, has an unknown source or is flagged wrongly.
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
    """Load the figures in a folder of tables, or those that come with ddbench where the folder has none."""
    own = folder / "published.yaml"
    return load_published(own if own.is_file() else SHIPPED)


def footnotes(figures: Sequence[Figure], published: Published) -> list[str]:
    """Return one line for each source: what it is, and the figures that a table shows from it."""
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
