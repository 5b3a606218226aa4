"""Analyses of artefacts from their files: what is missing is computed, and what is known is read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddbench.analyses.analysis import Analysis, analysis_of
from ddbench.analyses.places import Source, sources
from ddbench.analyses.runner import Case, analyse, subject_of
from ddbench.artifacts.distilled_dataset import file_digest
from ddbench.errors import UserError
from ddbench.evaluation.modality import Evaluator
from ddbench.evaluation.opening import OpenedArtifact, open_artifact
from ddbench.io.atomic import canonical_json, set_aside
from ddbench.records.finding_files import check_finding, write_finding
from ddbench.records.findings import AnalysisRecord
from ddbench.registry import discover

Wanted = str | Mapping[str, Any]
"""name of an analysis, or a mapping of `name` and settings"""


@dataclass(frozen=True)
class Found:
    """An analysis of a file."""

    file: Path
    record: AnalysisRecord
    path: Path | None
    """path of the file that it is kept in"""
    known: bool
    """true if it was there before"""


def analyze(
    files: str | Path | Iterable[str | Path],
    what: Wanted | Sequence[Wanted],
    *,
    dataset: str | None = None,
    network: str | None = None,
    count: int | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    report: Callable[[str, float], None] = lambda stage, share: None,
    on_found: Callable[[Found], None] = lambda found: None,
    on_failure: Callable[[str], None] | None = None,
) -> list[AnalysisRecord]:
    """Ask questions about artefacts other than accuracy. Calling it again repeats nothing that is kept.

    >>> ddbench.analyze("digits.safetensors", ["calibration", "classes"])  # doctest: +SKIP

    Args:
        files: artefacts, folders of a board's runs, or folders of tables such as `leaderboards/artifacts/cpu`; what is
            found of a folder's artefacts is kept there, of others in `out` alone
        what: analyses, without a version the newest; a mapping has their settings beside `name`
        dataset: where the artefacts' data set lies, when not under its name
        network: architecture to train; None takes each artefact's
        count: networks to train; None takes as many as the artefact was scored with, or the protocol's number
        out: folder that keeps all findings
        report: told the stage and the share of it that is done
        on_found: told each as soon as it is known
        on_failure: told a sentence where one artefact cannot be analysed, and the others go on; None raises it

    Raises:
        UserError: for an unknown analysis or setting, or an artefact or data set that is not to be had.
    """
    discover()
    wanted = [analysis_of(one) for one in ([what] if isinstance(what, str | Mapping) else what)]
    if not wanted:
        raise UserError("no analysis is named; `ddbench list analyses` shows them")
    paths = [files] if isinstance(files, str | Path) else files
    todo = [source for path in paths for source in sources(Path(path), None if out is None else Path(out))]
    way = _Way(dataset, network, count, device)
    results = list[AnalysisRecord]()
    for index, source in enumerate(todo):

        def progress(stage: str, share: float, done: int = index) -> None:
            report("analyze", (done + share) / len(todo)) if stage == "analyze" else report(stage, share)

        try:
            for found in _of_source(source, wanted, way, progress):
                results.append(found.record)
                on_found(found)
        except UserError as error:
            if on_failure is None:
                raise
            on_failure(str(error))
        report("analyze", (index + 1) / len(todo))
    return results


class _Way:
    """How artefacts are evaluated; one evaluator after the other, artefacts of one kind share it."""

    def __init__(self, dataset: str | None, network: str | None, count: int | None, device: str) -> None:
        self._dataset, self._networks, self._count, self._device = dataset, [network] if network else [], count, device
        self._last: tuple[bytes, Evaluator] | None = None

    def open(self, source: Source) -> OpenedArtifact:
        cell = source.record.result.cell if source.record else None
        return open_artifact(source.file, dataset=self._dataset, networks=self._networks, count=self._count, cell=cell)

    def evaluator(self, opened: OpenedArtifact, report: Callable[[str, float], None]) -> Evaluator:
        whole = opened.said.model_dump(mode="json")
        key = canonical_json([{n: v for n, v in whole.items() if n not in UNRELATED}, opened.count])
        if self._last is None or self._last[0] != key:
            self._last = key, opened.evaluator(self._device, report)
        return self._last[1].under(opened.networks[0], opened.protocol)


UNRELATED = ("method", "hyperparameters", "ipc", "budget", "seed", "also")
"""fields of what is known of an artefact that do not decide how it is evaluated"""


def _of_source(
    source: Source, wanted: Sequence[Analysis], way: _Way, report: Callable[[str, float], None]
) -> Iterable[Found]:
    opened = way.open(source)
    case = Case(
        file_digest(source.file), opened.said, opened.seed, opened.networks[0], opened.protocol.name, opened.count
    )
    subject = None
    for index, analysis in enumerate(wanted):
        path = source.place(f"{analysis.name}-{case.key(analysis)}.json")
        kept = _kept(path)
        if kept is not None:
            yield Found(source.file, kept, path, known=True)
            continue

        def progress(share: float, done: int = index) -> None:
            report("analyze", (done + share) / len(wanted))

        subject = subject or subject_of(case, opened.artifact, way.evaluator(opened, report))
        made = analyse(analysis, case, subject, progress)
        if path is not None:
            write_finding(path, made)
        yield Found(source.file, made, path, known=False)


def _kept(path: Path | None) -> AnalysisRecord | None:
    """What is kept at a place; a damaged file is set aside with a warning."""
    if path is None or not path.exists():
        return None
    found, problems = check_finding(path)
    if found is None or problems:
        warnings.warn(set_aside(path, problems[0]), RuntimeWarning, stacklevel=2)
        return None
    return found
