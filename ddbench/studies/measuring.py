"""One row of a study measured, seed by seed, and the record that it leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.clock import clock_for
from ddbench.compute.environment import environment, now
from ddbench.errors import UserError
from ddbench.evaluation.modality import Place
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.io.atomic import key_of, write_sealed
from ddbench.records.fields import Seconds, Strict
from ddbench.records.files import read_kept
from ddbench.records.findings import Findings
from ddbench.records.schema import Record
from ddbench.records.studies import StudyRecord, StudyRun
from ddbench.runs.plan import identity_of
from ddbench.studies.bench import Bench, Keep
from ddbench.studies.rows import Row, Seed
from ddbench.studies.study import Replicate, Study
from ddbench.task.hyperparameters import settings_of

Made = Mapping[str, tuple[Record, Path]]
"""finished runs and the files of their artefacts, by `identity_of`"""


class _Kept(Strict):
    """What was measured of a seed."""

    replicate: Replicate
    seconds: Seconds


class _Piece(Strict):
    """A part of what is measured of a seed."""

    values: list[float]
    seconds: Seconds


@dataclass(frozen=True)
class Measurement:
    """A row whose runs are done.

    Args:
        kept: folder of what was measured of single seeds
        report: told the share of the work that is done
    """

    study: Study
    row: Row
    made: Made
    device: torch.device
    kept: Path
    report: Callable[[float], None] = lambda share: None

    def record(self) -> StudyRecord:
        """Measure what is not kept yet, and sum up.

        Raises:
            UserError: when a number is not finite.
        """
        artifacts = [[DistilledDataset.load(path) for _, path in self._runs(seed)] for seed in self.row.seeds]
        reason = self.study.refusal([artifact for own in artifacts for artifact in own])
        if reason is not None:
            return self._record(Findings(not_applicable=reason), 0.0)
        found = [self._seed(seed, own) for seed, own in zip(self.row.seeds, artifacts, strict=True)]
        try:
            findings = self.study.findings([one.replicate for one in found])
        except ValidationError as error:
            raise UserError(f"{self.study.name} of {self.row.label} found no sound numbers: {error}") from error
        return self._record(findings, sum(one.seconds for one in found))

    def _record(self, findings: Findings, seconds: float) -> StudyRecord:
        runs = [self._run(seed, index) for seed in self.row.seeds for index in range(len(seed.parts))]
        around = environment(self.device, torch.get_num_threads(), False)
        described = record_of(self.study, self.row)
        return described.model_copy(
            update={"runs": runs, "findings": findings, "seconds": seconds, "finished": now(), "environment": around}
        )

    def _runs(self, seed: Seed) -> list[tuple[Record, Path]]:
        return [self.made[identity_of(job.cell, job.seed)] for job in seed.jobs]

    def _run(self, seed: Seed, index: int) -> StudyRun:
        part, (record, _) = seed.parts[index], self._runs(seed)[index]
        result = record.result
        assert result.artifact is not None
        return StudyRun(
            split=part.split,
            share=part.share,
            seed=seed.number,
            key=record.key,
            status=result.status,
            artifact=result.artifact,
            seconds=record.charged_seconds,
        )

    def _seed(self, seed: Seed, artifacts: Sequence[DistilledDataset]) -> _Kept:
        digests = [record.result.artifact for record, _ in self._runs(seed)]
        cell, protocol = self.row.cell.model_dump(mode="json"), self.row.job.protocol().describe()
        said = [self.study.name, settings_of(self.study), self.row.variant, cell, protocol, seed.number, digests]
        path = self.kept / f"{key_of(said)}.json"
        known = read_kept(path, _Kept)
        if known is not None:
            return known
        clock = clock_for(self.device)
        begun = clock.settle()

        def progress(share: float) -> None:
            self.report((seed.number + share) / len(self.row.seeds))

        before = list[float]()
        shared = [self.study.name, *(cell[name] for name in ("dataset_digest", "preprocessing", "device"))]
        bench = Bench(
            self.row.cell, self.row.variant, self._evaluator, progress, self._keep(said, before), self._keep(shared, [])
        )
        replicate = self.study.measure(bench, artifacts, seed.number)
        found = _Kept(replicate=replicate, seconds=clock.settle() - begun + sum(before))
        write_sealed(path, found.model_dump_json().encode())
        return found

    def _keep(self, said: list[Any], before: list[float]) -> Keep:
        """Return what keeps pieces of a measurement in files; the seconds of those that are there go into `before`."""
        clock = clock_for(self.device)

        def keep(name: str, make: Callable[[], list[float]]) -> list[float]:
            path = self.kept / f"{key_of([*said, name])}.json"
            known = read_kept(path, _Piece)
            if known is not None:
                before.append(known.seconds)
                return known.values
            begun = clock.settle()
            made = _Piece(values=make(), seconds=clock.settle() - begun)
            write_sealed(path, made.model_dump_json().encode())
            return made.values

        return keep

    @cached_property
    def _evaluator(self) -> ImageEvaluator:
        job = self.row.job
        found = job.modality.evaluator(job.cell, job.dataset, Place(self.device))
        assert isinstance(found, ImageEvaluator)  # rows are of images
        return found


def record_of(study: Study, row: Row) -> StudyRecord:
    """The record of a row, under its key, before anything is measured."""
    found = StudyRecord(
        key="",
        study=study.name,
        settings=settings_of(study),
        variant=row.variant,
        cell=row.cell,
        method_source=row.job.method_source,
        protocol=row.job.protocol().describe(),
        seeds=len(row.seeds),
        runs=[],
        findings=Findings(not_applicable="not measured yet"),
        seconds=0.0,
        finished="",
        environment={},
    )
    return found.model_copy(update={"key": found.expected_key()})
