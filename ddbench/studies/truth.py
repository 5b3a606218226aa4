"""How accurate architectures are that learn from all training images: measured once, filed, and read by searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ddbench.boards.command_line import SHIPPED
from ddbench.compute.clock import clock_for
from ddbench.evaluation.protocols import Protocol
from ddbench.records.cell import CEILING, NetworkSpec
from ddbench.records.findings import Series
from ddbench.records.study_files import STUDIED, read_study
from ddbench.studies.bench import Bench

SERIES = "architectures"
"""series of a row that has what it found of each architecture"""


@dataclass(frozen=True)
class Truth:
    """Two trainings of each architecture on all training images.

    Args:
        first: test accuracy of each, (A,)
        second: the same, of another seed
        seconds: of each of the first trainings
    """

    first: list[float]
    second: list[float]
    seconds: list[float]

    @property
    def mean(self) -> list[float]:
        return [(one + other) / 2 for one, other in zip(self.first, self.second, strict=True)]


def truth_protocol(epochs: int) -> Protocol:
    """How architectures are trained on all training images; no artefact is scored so, and it is not registered."""
    return Protocol(
        "search-truth@1",
        f"ours: the field's optimiser, passes over all training images: {epochs}; not augmented",
        epochs=epochs,
        short=epochs,
        restart=False,
        kind="full_data",
    )


def truth_of(bench: Bench, study: str, settings: Mapping[str, Any], networks: Sequence[NetworkSpec]) -> Truth:
    """What is filed of the data, or else measured, once for all rows, one training after the other.

    Args:
        study: name of the search
        settings: all fields of it, `truth_epochs` among them
    """
    filed = filed_truth(study, settings, bench.cell.dataset_digest, bench.cell.preprocessing)
    if filed is not None:
        return filed
    protocol, found = truth_protocol(settings["truth_epochs"]), list[list[float]]()
    for index, (number, network) in enumerate((number, network) for number in (0, 1) for network in networks):
        bench.report(index / (2 * len(networks)))
        own = bench.under(network, protocol)
        name = f"{protocol.name}, {protocol.epochs} epochs, {network}, {number}"
        found.append(bench.shared(name, partial(timed_accuracy, own, number)))
    first, second = found[: len(networks)], found[len(networks) :]
    return Truth([one[0] for one in first], [one[0] for one in second], [one[1] for one in first])


def timed_accuracy(bench: Bench, number: int) -> list[float]:
    """Test accuracy of network `number` on real images, as the bench's protocol says, and its device seconds."""
    clock = clock_for(bench.evaluator.device)
    begun = clock.settle()
    accuracy = bench.accuracy(bench.unread, number)
    return [accuracy, clock.settle() - begun]


def filed_truth(study: str, settings: Mapping[str, Any], dataset_digest: str, preprocessing: str) -> Truth | None:
    """Read the truth of a data set from the row of `full_data` that is filed in the repository; None without one.

    Raises:
        UserError: where a file of such a row is damaged.
    """
    folder = SHIPPED.parent / "leaderboards" / STUDIED / study
    for path in sorted(folder.glob(f"{CEILING}-*.json")):
        row = read_study(path)
        said = row.settings, row.cell.dataset_digest, row.cell.preprocessing
        if said == (settings, dataset_digest, preprocessing) and SERIES in row.findings.series:
            return _truth(row.findings.series[SERIES])
    return None


def _truth(series: Series) -> Truth:
    columns = [[float(value) for value in series.columns[name]] for name in ("proxy", "truth", "seconds")]
    return Truth(*columns)
