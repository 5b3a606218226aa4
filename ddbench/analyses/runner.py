"""One analysis carried out on one artefact, and the record that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ddbench.analyses.analysis import Analysis
from ddbench.analyses.references import Origin, References
from ddbench.analyses.subject import Subject
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.clock import clock_for
from ddbench.compute.environment import environment, now
from ddbench.compute.precision import precision
from ddbench.errors import UserError
from ddbench.evaluation.kernel_evaluator import KernelEvaluator
from ddbench.evaluation.modality import Described, Evaluator
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.records.cell import Cell, NetworkSpec
from ddbench.records.findings import AnalysisRecord, analysis_key
from ddbench.task.hyperparameters import settings_of


@dataclass(frozen=True)
class Case:
    """An artefact that is to be analysed, and what networks are trained on it."""

    digest: str
    """digest of its file"""
    described: Described
    """its run's cell, or what its header says"""
    seed: int | None
    """its run's seed; None where it is not known"""
    network: NetworkSpec
    protocol: str
    networks: int
    """how many"""

    def key(self, analysis: Analysis) -> str:
        """Return 16 hexadecimal digits that name an analysis of it."""
        way = self.network, self.protocol, self.networks
        return analysis_key(analysis.name, settings_of(analysis), self.digest, self.described.dataset_digest, way)


def subject_of(case: Case, artifact: DistilledDataset, evaluator: Evaluator) -> Subject:
    """What analyses of a case get; networks that one of them has trained serve the others.

    Args:
        evaluator: of the case's network and protocol

    Raises:
        UserError: when the artefact is no set of images, or its protocol trains no network.
    """
    if isinstance(evaluator, KernelEvaluator):
        raise UserError(
            f"analyses ask trained networks, and protocol {case.protocol} trains none: they do not apply to what is "
            "scored under it"
        )
    if not isinstance(evaluator, ImageEvaluator):
        raise UserError(f"analyses are of images, and the artefact is of modality {case.described.modality!r}")
    said = case.described
    device = said.device if isinstance(said, Cell) else evaluator.device.type
    origin = Origin(said.dataset_digest, str(said.network), said.ipc, case.seed or 0, said.setting, device)
    return Subject(artifact, evaluator, case.networks, References(evaluator, origin))


def analyse(
    analysis: Analysis, case: Case, subject: Subject, report: Callable[[float], None] = lambda share: None
) -> AnalysisRecord:
    """Carry out an analysis.

    Raises:
        UserError: when it finds numbers that are not finite.
    """
    clock = clock_for(subject.device)
    begun = clock.settle()
    try:
        with precision(subject.device, "float32"):  # reference networks serve artefacts of every precision
            findings = analysis.analyse(subject.asked_by(analysis.name, report))
    except FloatingPointError as error:
        raise UserError(f"{analysis.name} found a number that is not finite: {error}") from error
    return AnalysisRecord(
        key=case.key(analysis),
        analysis=analysis.name,
        settings=settings_of(analysis),
        artifact=case.digest,
        dataset=case.described.dataset,
        dataset_digest=case.described.dataset_digest,
        network=case.network,
        protocol=subject.protocol.describe(),
        networks=case.networks,
        findings=findings,
        seconds=clock.settle() - begun,
        finished=now(),
        environment=environment(subject.device, _threads(), subject.evaluator.compiler.enabled),
    )


def _threads() -> int:
    import torch

    return torch.get_num_threads()
