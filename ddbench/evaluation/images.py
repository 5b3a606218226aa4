"""The modality `images`: data sets of labelled images, their tasks, and what scores artefacts on them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ddbench.artifacts.checks import check_artifact, check_initial
from ddbench.artifacts.class_names import checked_names, names_for_header
from ddbench.artifacts.copies import is_published, preprocessing_doubt
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.generators import Generators, seeded
from ddbench.data import Dataset, Preprocessing, RealData, load_dataset, load_split
from ddbench.data.augmentation import DSA
from ddbench.data.builtin import Size
from ddbench.data.derived import derived
from ddbench.data.npz import save_npz
from ddbench.decoders import check_storage, parse_decoder
from ddbench.errors import UserError, printable
from ddbench.evaluation.kernel_evaluator import KernelEvaluator
from ddbench.evaluation.kernel_protocol import KernelProtocol
from ddbench.evaluation.modality import Described, Evaluator, Place, TrainingFile
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.evaluation.training_file import TrainingData, read_training_file, write_training_file
from ddbench.networks import InitialWeights, build_network, check_network
from ddbench.records.cell import Cell, NetworkSpec
from ddbench.registry import MODALITIES, PROTOCOLS
from ddbench.task.pretrained import PretrainedPool, load_pool, load_pool_for_scoring, pool_for_training
from ddbench.task.settings import SETTINGS, Setting, SettingInputs
from ddbench.task.task import Task


@dataclass(frozen=True)
class ImageData:
    """A data set of images with the split that a cell scores on, and what an artefact of it must fit."""

    data: Dataset

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def digest(self) -> str:
        return self.data.digest

    @property
    def size(self) -> Size:
        """How much it holds, from which seconds and bytes of a run are counted beforehand."""
        return Size.of(tuple(self.data.counts.tolist()), len(self.data.test_labels), self.data.shape)

    def check(self, artifact: DistilledDataset, described: Described, seed: int | None) -> None:
        shape, classes = self.data.shape, len(self.data.classes)
        check_artifact(artifact, shape, classes, described.ipc, described.attack)
        names = checked_names(artifact.provenance, "its header")
        if names is not None and len(names) != classes:
            raise ValueError(f"its header names {len(names)} classes, and {self.name!r} has {classes}")
        if isinstance(described, Cell):
            _check_preprocessing(artifact.provenance, self.data, described)
        if seed is None or artifact.initial is None:
            return
        spec = described.network
        network = build_network(spec.name, shape, classes, spec.parameters)
        generators = Generators(described.dataset_digest, str(spec), described.ipc, seed)
        expected = SETTINGS[described.setting].recomputed(InitialWeights(network), generators)
        check_initial(artifact.initial, expected, f"setting {described.setting} with seed {seed}")


@dataclass(frozen=True)
class ImageTraining:
    """The task of a run, and the check of what comes out."""

    task: Task
    origin: Mapping[str, Any]
    provenance: Mapping[str, Any]

    @property
    def size(self) -> Size:
        """How much it holds; no test image is among it."""
        return Size.of(self.task.real.counts, 0, self.task.shape)

    def check(self, artifact: DistilledDataset) -> None:
        task = self.task
        check_artifact(artifact, task.shape, task.classes, task.ipc, task.setting.attack)


class Images:
    """Labelled images of one size."""

    name = "images"

    def data(self, dataset: str, split: str, peek: float | None) -> ImageData:
        return ImageData(load_split(dataset, split, peek))

    def check(self, cell: Cell, dataset: str, method: Any) -> None:
        data = load_split(dataset, cell.split, cell.peek)
        _check_ipc(cell, data, method)
        if hasattr(method, "decoder"):
            _check_storage(method.decoder, data.shape, len(data.classes), cell.ipc)
        _check_network(cell.network, data)
        for index, way in enumerate(cell.also or []):
            try:
                _check_network(way.network, data)
            except UserError as error:
                raise UserError(f"also.{index}: {error}") from error
        SETTINGS[cell.setting].check(cell, data)

    def prepare(self, cell: Cell, dataset: str, folder: Path, place: Place) -> TrainingFile:
        _, seen = _found(cell, dataset)
        data = seen.without_test()
        if cell.pool is None:
            return write_training_file(folder, TrainingData(data))
        seen = data.to(place.device)
        pool = load_pool(cell.pool, cell.network, seen, place.device, place.report, cell.preprocessing)
        return write_training_file(folder, TrainingData(data, pool.training, pool.digest))

    def lay_noise(self, dataset: str, folder: Path) -> None:
        data = load_dataset(dataset)
        noise = torch.randint(256, data.test_images.shape, generator=seeded(0), dtype=torch.uint8)
        save_npz(folder / f"{data.name}.npz", replace(data, test_images=noise))

    def training(self, cell: Cell, file: TrainingFile, generators: Generators, place: Place) -> ImageTraining:
        content = read_training_file(file)
        data = content.data.to(place.device)
        transform = Preprocessing.for_dataset(data, cell.preprocessing).fit(data)
        network = _network(cell.network, data).to(place.device)
        pool = None
        if content.networks is not None:
            pool = pool_for_training(content.networks.to(place.device), network)
        task = Task(
            RealData(data, transform, place.device),
            network,
            shape=data.shape,
            classes=len(data.classes),
            ipc=cell.ipc,
            setting=_setting(cell, network, generators, place, pool),
            augmentation=DSA.for_dataset(data.name),
            generators=generators,
            device=place.device,
            compiler=place.compiler,
            precision=cell.precision,
        )
        origin = {
            "dataset": cell.dataset_digest,
            "preprocessing": cell.preprocessing,
            "network": str(cell.network),
            **cell.model_dump(include={"precision"}),
        }
        if cell.setting != "random":  # stored weights are of the ipc, networks of a pool and labels of the attack
            origin |= cell.model_dump(mode="json", include={"setting", "ipc", "pool", "attack"})
        described = {"preprocessing": transform.describe(), "held_out": content.held_out}
        return ImageTraining(task, origin, {**described, **names_for_header(data.classes)})

    def evaluator(self, described: Described, dataset: str, place: Place) -> Evaluator:
        whole, seen = _found(described, dataset)
        seen = seen.to(place.device)
        preprocessing = _preprocessing(seen, described)
        network, pool = _network(described.network, seen).to(place.device), None
        if described.pool is not None:
            pool = load_pool_for_scoring(
                described.pool, described.network, seen, place.device, place.report, preprocessing.kind
            )
        transform = preprocessing.fit(seen)
        setting = _setting(described, network, Generators("evaluation"), place, pool)
        data = whole.to(place.device) if described.split == "test" else seen
        held_out = whole.validation(described.peek).to(place.device) if described.peek else None
        report = partial(place.report, "evaluate")

        def training(network: NetworkSpec, protocol: Protocol) -> ImageEvaluator:
            return ImageEvaluator(data, transform, protocol, network, place.device, setting, place.compiler)

        protocol = PROTOCOLS.get(described.protocol)
        if isinstance(protocol, KernelProtocol):
            kernel = data, transform, protocol, described.network, place.device, training
            return KernelEvaluator(*kernel, held_out, report)
        return replace(training(described.network, protocol), held_out=held_out, report=report)

    def show(self, file: Path, out: Path, dataset: str | None = None) -> None:
        from ddbench.artifacts.show import show  # matplotlib takes a second

        show(file, out, dataset)


MODALITIES.register("images")(Images())


def _found(described: Described, dataset: str) -> tuple[Dataset, Dataset]:
    """The whole data set, and the split of it that methods see."""
    whole, wanted = load_dataset(dataset), described.dataset_digest.partition("+")[0]
    if whole.digest != wanted:
        raise UserError(
            f"data set {described.dataset!r} with digest {wanted[:19]} is asked for, but {whole.name!r} here is "
            f"another one ({whole.digest[:19]}); name or provide the right one"
        )
    return whole, _split(whole, described.dataset_digest)


_split = lru_cache(maxsize=2)(derived)
"""cached by the data set's object: cells of a board share it"""


def _check_ipc(cell: Cell, data: Dataset, method: Any) -> None:
    """Refuse more images of a class than it has, unless the method starts from noise."""
    smallest, start = int(data.counts.min()), getattr(method, "init", "real")
    if cell.ipc <= smallest or start == "noise":
        return
    noise = f", or have {method.name} start from noise (init=noise)" if _may_start_from_noise(method) else ""
    raise UserError(
        f"ipc {cell.ipc} is larger than the smallest class of {data.name} ({smallest} images); lower it{noise}"
    )


def _may_start_from_noise(method: Any) -> bool:
    try:
        return hasattr(method, "init") and bool(replace(method, init="noise"))
    except UserError:  # it has the setting and refuses this value
        return False


@lru_cache(maxsize=64)
def _check_storage(decoder: str, shape: tuple[int, int, int], classes: int, ipc: int) -> None:
    """Raise UserError where a decoder does not fit; what fits is remembered, for seeds and methods share it."""
    check_storage(parse_decoder(decoder), shape, classes, ipc)


def _check_network(network: NetworkSpec, data: Dataset) -> None:
    """Raise UserError for a network that cannot be built; what can be is remembered."""
    _check_once(network.name, tuple(sorted(network.parameters.items())), data.shape, len(data.classes))


@lru_cache(maxsize=64)
def _check_once(name: str, parameters: tuple[tuple[str, Any], ...], shape: tuple[int, int, int], classes: int) -> None:
    check_network(name, shape, classes, dict(parameters))


def _check_preprocessing(provenance: Mapping[str, Any], data: Dataset, cell: Cell) -> None:
    """Refuse a header whose copy of the preprocessing is not that of the cell, by which networks are trained."""
    said = provenance.get("preprocessing")
    if isinstance(said, Mapping):
        doubt = preprocessing_doubt(said, replace(data, name=cell.dataset), cell.preprocessing)
        if doubt is not None:
            raise ValueError(doubt)


def _preprocessing(data: Dataset, described: Described) -> Preprocessing:
    """The preprocessing of a cell, or that an artefact describes, with a warning where the data have another."""
    if isinstance(described, Cell):
        return Preprocessing.for_dataset(data, described.preprocessing)
    doubt = preprocessing_doubt(described.preprocessing, replace(data, name=described.dataset))
    if doubt is not None and not is_published(described.preprocessing):
        warnings.warn(printable(f"{doubt}; it is scored as it says"), RuntimeWarning, stacklevel=3)
    return Preprocessing.from_description(described.preprocessing)


def _network(network: NetworkSpec, data: Dataset) -> nn.Module:
    return build_network(network.name, data.shape, len(data.classes), network.parameters)


def _setting(
    described: Described, network: nn.Module, generators: Generators, place: Place, pool: PretrainedPool | None
) -> Setting:
    inputs = SettingInputs(InitialWeights(network), generators, place.device, pool, described.attack)
    return SETTINGS[described.setting](inputs)
