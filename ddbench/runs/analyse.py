"""The stage of a run after its scores: questions about its artefact that a board asks beside accuracy; not charged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ddbench.analyses.analysis import make_analysis
from ddbench.analyses.runner import Case, analyse, subject_of
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.evaluation.modality import Evaluator
from ddbench.records.finding_files import check_finding, write_finding
from ddbench.runs.context import RunContext


def analyse_run(context: RunContext, artifact: str, evaluator: Callable[[], Evaluator]) -> Iterator[str]:
    """Carry out what is missing beside a run's artefact; a sentence for each analysis that failed.

    Args:
        artifact: digest of the artefact's file
        evaluator: gives what scores the cell

    Raises:
        Stopped: when the run is to stop; what is found is kept.
    """
    job, cell = context.job, context.job.cell
    case = Case(artifact, cell, job.seed, cell.network, cell.protocol, cell.networks)
    wanted = [make_analysis(name, settings) for name, settings in job.analyses]
    places = [(analysis, context.folder / f"{analysis.name}-{case.key(analysis)}.json") for analysis in wanted]
    missing = [(analysis, path) for analysis, path in places if not path.is_file() or check_finding(path)[1]]
    if not missing:
        return
    subject = subject_of(case, DistilledDataset.load(context.artifact_path), evaluator())

    def progress(done: int, share: float) -> None:
        context.monitor.pause_point("analyze", (done + share) / len(missing))

    for index, (analysis, path) in enumerate(missing):
        try:
            write_finding(path, analyse(analysis, case, subject, partial(progress, index)))
        except Exception as error:  # whatever it is, the run has its scores
            yield f"{analysis.name} failed, and `ddbench analyze` tries it again: {type(error).__name__}: {error}"
