"""Accuracy of fresh networks, from an artefact alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ddbench.compute.device import resolve_device
from ddbench.compute.precision import precision
from ddbench.evaluation.modality import Evaluator
from ddbench.evaluation.opening import open_artifact
from ddbench.evaluation.trainer import evaluate
from ddbench.records.schema import Score
from ddbench.registry import discover


def score(
    file: str | Path,
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    networks: Iterable[str] = (),
    count: int | None = None,
    device: str = "auto",
    report: Callable[[str, float], None] = lambda stage, share: None,
) -> list[Score]:
    """Train fresh networks on an artefact and test them, from the file alone.

    Args:
        dataset: where the artefact's data set lies, when not under its name
        protocol: None takes the one the artefact was distilled for
        networks: architectures; none takes the artefact's
        count: networks of each; None takes as many as the artefact was scored with, or the protocol's number
        report: told `pool`, while pretrained networks are made, or `evaluate`, and the share that is done

    Raises:
        UserError: when the file cannot be scored from what it says, or its data set is not to be had.
    """
    discover()
    opened = open_artifact(Path(file), dataset=dataset, protocol=protocol, networks=networks, count=count)
    headline, chosen, number = opened.evaluator(device, report), opened.networks, opened.count
    scores = list[Score]()

    def progress(share: float) -> None:
        report("evaluate", (len(scores) + share) / (len(chosen) * number))

    evaluators: list[Evaluator] = [headline.under(network, opened.protocol).reporting(progress) for network in chosen]
    with precision(resolve_device(device), opened.said.precision):
        for evaluator in evaluators:
            evaluate(opened.artifact, evaluator, number, scores.append)
    return scores
