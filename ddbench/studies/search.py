"""Architecture search by proxy: candidates are trained on a distilled set, in place of all training data.

Zhao, Mopuri & Bilen, "Dataset Condensation with Gradient Matching", ICLR 2021, arXiv 2006.05929, search among 720
ConvNets so. Cui et al., "DC-BENCH", NeurIPS 2022, and others report rank correlations among the best 5 or 10, where
chance spreads by a half; here it is over all, and what the chosen one lacks is told beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt

from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.clock import clock_for
from ddbench.data import Dataset
from ddbench.data.builtin import Size
from ddbench.errors import UserError
from ddbench.evaluation.schedule import steps_of
from ddbench.networks import build_network, parameter_count
from ddbench.records.cell import CEILING, Cell, NetworkSpec
from ddbench.records.findings import Figure, Findings, Measure, Series
from ddbench.records.metrics import Metric
from ddbench.registry import register_study
from ddbench.studies.bench import Bench
from ddbench.studies.ranking import regret, tau, tau_interval
from ddbench.studies.space import ALL, LEAST_SIDE, MIDDLE, architectures
from ddbench.studies.study import Part, Replicate, Training
from ddbench.studies.truth import SERIES, filed_truth, timed_accuracy, truth_of, truth_protocol
from ddbench.task.hyperparameters import settings_of

TIMED = 10
"""steps on real images whose seconds say how many of them a training may take"""


@register_study("search@1")
@dataclass(frozen=True)
class Search:
    """Which architecture is best, to somebody who trains all of them on a distilled set in place of all data?"""

    name: ClassVar[str]
    measures: ClassVar[tuple[Metric, ...]] = (
        Metric("tau", "Kendall's tau-b of the architectures' proxy and true accuracy", -1, 1),
        Metric("regret_1", "what the architecture of best proxy lacks to the best, in true accuracy", better="lower"),
        Metric("regret_5", "what the best of the five of best proxy lacks to the best of all", better="lower"),
        Metric("training_seconds", "device seconds of training all architectures for the proxy", 0, 1e12, "lower"),
    )
    headline: ClassVar[tuple[str, ...]] = ("tau", "regret_1", "regret_5", "training_seconds")
    caption: ClassVar[str] = (
        "The true accuracy of an architecture is the mean of two short trainings on all data. Row full_data has one of "
        "them as proxy for the other: no proxy is to be expected much above it. Intervals of tau are over "
        "architectures, those of regrets over seeds. Early stopping has, for all architectures together, the seconds "
        "of distilling and of training on the distilled set; random_pick is the expectation, without a draw."
    )
    variants: ClassVar[tuple[str, ...]] = ("early_stopping", "parameter_count", "random_pick")
    references: ClassVar[tuple[str, ...]] = (
        "random_real",
        "early_stopping:random_real",
        "parameter_count:full_data",
        "random_pick:full_data",
        "full_data",
    )
    protocol: ClassVar[str] = "quick-300@1"
    networks: ClassVar[int] = 1
    seeds: ClassVar[int] = 3
    figure: ClassVar[Figure] = Figure(SERIES, "proxy", "truth", "proxy", "true accuracy", scattered=True)

    architectures: Annotated[int, Field(ge=2, le=len(ALL))] = len(ALL)
    """candidates, evenly spaced in the space"""
    truth_epochs: PositiveInt = 2
    """passes over all training images of the trainings that say what an architecture is worth"""

    def check(self, data: Dataset) -> None:
        side = min(data.shape[1:])
        if side < LEAST_SIDE:
            raise UserError(
                f"images of {data.name} have {side} pixels a side, and the deepest architecture takes {LEAST_SIDE} or "
                "more; choose a data set of larger ones"
            )

    @property
    def candidates(self) -> list[NetworkSpec]:
        return architectures(self.architectures)

    def parts(self, data: Dataset, variant: str | None, seed: int) -> list[Part]:
        return [] if variant else [Part("test")]

    def trainings(self, size: Size, cell: Cell, variant: str | None) -> list[Training]:
        proxy = Training(size, MIDDLE, count=self.architectures)
        found = [] if cell.method == CEILING or variant in ("parameter_count", "random_pick") else [proxy]
        if filed_truth(self.name, settings_of(self), cell.dataset_digest, cell.preprocessing) is None:
            found.append(Training(size, MIDDLE, truth_protocol(self.truth_epochs), 2 * self.architectures, shared=True))
        return found

    def refusal(self, made: Sequence[DistilledDataset]) -> str | None:
        return None

    def measure(self, bench: Bench, made: Sequence[DistilledDataset], seed: int) -> Replicate:
        truth = truth_of(bench, self.name, settings_of(self), self.candidates)
        sizes = [float(_parameters(bench, network)) for network in self.candidates]
        nothing = [0.0] * len(sizes)
        found = {"truth": truth.mean, "parameters": sizes, "seconds": nothing}
        if bench.variant == "parameter_count":
            return {**found, "proxy": sizes}
        if bench.variant == "random_pick":
            return {**found, "proxy": nothing}
        if bench.on_real:
            return {**found, "proxy": truth.first, "truth": truth.second, "seconds": truth.seconds}
        trained = self._stopped(bench, seed) if bench.variant else self._proxies(bench, made[0])
        return {**found, "proxy": [one[0] for one in trained], "seconds": [one[1] for one in trained]}

    def findings(self, replicates: Sequence[Replicate]) -> Findings:
        distinct = [one for place, one in enumerate(replicates) if one["proxy"] not in _proxies_of(replicates[:place])]
        truth, proxies = distinct[0]["truth"], _proxies_of(distinct)
        taus = [tau(proxy, truth) for proxy in proxies]
        low, high = tau_interval(proxies, truth)
        mean = sum(taus) / len(taus)
        seconds = [sum(one["seconds"]) for one in distinct]
        metrics = {
            "tau": Measure(values=taus, of="seeds", low=min(low, mean), high=max(high, mean)),
            "regret_1": Measure.over([regret(proxy, truth, 1) for proxy in proxies], "seeds"),
            "regret_5": Measure.over([regret(proxy, truth, 5) for proxy in proxies], "seeds"),
            "training_seconds": Measure(values=seconds, of="seeds"),
        }
        return Findings(metrics=metrics, series={SERIES: self._series(distinct)})

    def _proxies(self, bench: Bench, artifact: DistilledDataset) -> list[list[float]]:
        """Accuracy and seconds of each architecture, trained on an artefact, in the mean over networks."""
        count, found, clock = bench.cell.networks, list[list[float]](), clock_for(bench.evaluator.device)

        def train(own: Bench) -> list[float]:
            begun = clock.settle()
            accuracies = [own.accuracy(artifact, number) for number in range(count)]
            return [sum(accuracies) / count, clock.settle() - begun]

        for index, network in enumerate(self.candidates):
            bench.report(index / self.architectures)
            found.append(bench.kept(str(network), partial(train, bench.under(network))))
        return found

    def _stopped(self, bench: Bench, seed: int) -> list[list[float]]:
        """The same on real images, for as long as the proxies of a method take with its share of distilling."""
        found = list[list[float]]()
        share = (bench.cell.budget.seconds or 0.0) / self.architectures
        for index, network in enumerate(self.candidates):
            bench.report(index / self.architectures)
            found.append(bench.kept(str(network), partial(stopped, bench, network, share, seed)))
        return found

    def _series(self, replicates: Sequence[Replicate]) -> Series:
        def mean(name: str) -> list[float]:
            return [sum(values) / len(values) for values in zip(*(one[name] for one in replicates), strict=True)]

        columns = {name: mean(name) for name in ("parameters", "proxy", "truth", "seconds")}
        return Series(columns={"architecture": [str(network) for network in self.candidates], **columns})


def stopped(bench: Bench, network: NetworkSpec, share: float, seed: int) -> list[float]:
    """Accuracy and seconds of a network that stops early on real images, in batches of the size of a method's.

    Args:
        share: seconds beyond those of the protocol's steps on a distilled set
    """
    own, count = bench.evaluator.protocol, bench.cell.ipc * len(bench.data.classes)
    on_real = replace(
        own, name=f"{own.name} on real batches", kind="full_data", epochs=None, steps=TIMED, honours=(),
        batch_size=min(own.batch_size, count),
    )  # fmt: skip
    timed = bench.under(network, on_real)
    timed.evaluator.train(timed.unread, seed)  # warms up
    clock = clock_for(bench.evaluator.device)
    begun = clock.settle()
    timed.evaluator.train(timed.unread, seed)
    step = (clock.settle() - begun) / TIMED
    steps = bench.cell.networks * steps_of(own, count) + int(share / max(step, 1e-9))
    return timed_accuracy(bench.under(network, replace(on_real, steps=steps)), seed)


def _parameters(bench: Bench, network: NetworkSpec) -> int:
    return parameter_count(build_network(network.name, bench.data.shape, len(bench.data.classes), network.parameters))


def _proxies_of(replicates: Sequence[Replicate]) -> list[list[float]]:
    return [one["proxy"] for one in replicates]
