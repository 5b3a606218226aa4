"""Labels of networks that are stored themselves, or whose answers for augmented images are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from ddbench.artifacts.checks import check_artifact
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.artifacts.stored_labels import StoredLabels
from ddbench.compute.generators import derive_seed, seeded
from ddbench.data import Preprocessing
from ddbench.data.augmentation import DSA
from ddbench.errors import UserError
from ddbench.evaluation.descent import course_on
from ddbench.evaluation.kernel_protocol import KernelProtocol
from ddbench.evaluation.protocols import Protocol
from ddbench.evaluation.trainer import ImageEvaluator
from ddbench.io.safetensors_files import read_tensors, tensor_bytes
from ddbench.meter.meter import Meter
from ddbench.records.cell import Budget, NetworkSpec
from ddbench.testing import NETWORK, check_method, tiny_dataset, tiny_task
from methods.random_real import RandomReal
from tasks import setting_of

SHORT = "epochs=2,epoch_batches=2,batch=16,lr=0.1"
PROTOCOL = Protocol("short@1", "test", steps=15, batch_size=4, lr=0.1, decay_at=1.0, augmentation="dsa")


def made(labels: str, ipc: int = 2, **settings: Any) -> DistilledDataset:
    return RandomReal(labels=labels, **settings).distill(tiny_task(ipc=ipc), Meter(Budget(), snapshots=()))


def evaluator_of(protocol: Protocol = PROTOCOL, network: NetworkSpec = NETWORK, name: str = "digits") -> ImageEvaluator:
    data = replace(tiny_dataset(), name=name)
    transform = Preprocessing.for_dataset(data).fit(data)
    return ImageEvaluator(data, transform, protocol, network, torch.device("cpu"), setting_of(network, data))


def answers(artifact: DistilledDataset, images: Tensor) -> Tensor:
    """Logits of the artefact's teacher, which is of the tiny network, by a plain call of the module."""
    assert artifact.teacher is not None
    network = evaluator_of().module.eval()
    logits: Tensor = functional_call(network, dict(artifact.teacher), (images,))
    return logits.detach()


def batches(artifact: DistilledDataset, count: int, evaluator: ImageEvaluator) -> list[tuple[Tensor, Tensor]]:
    return list(islice(course_on(evaluator, artifact, 0).batches, count))


def test_a_teacher_is_kept_with_the_images_that_it_labels(tmp_path: Path) -> None:
    artifact = made(f"teacher,{SHORT}")
    assert artifact.with_provenance({}).parts["images"].equal(made("hard").parts["images"])
    assert (artifact.label_source, artifact.label_kind) == ("teacher", "index")
    numbers = sum(own.numel() for own in evaluator_of().module.parameters())
    assert artifact.stored_bytes() == made("hard").stored_bytes() | {"teacher": 4 * numbers}
    artifact.save(tmp_path / "made.safetensors")
    assert DistilledDataset.load(tmp_path / "made.safetensors").holds_what(artifact)


@pytest.mark.parametrize("mixed", [{"mixup": 0.8}, {"cutmix": 1.0}])
@pytest.mark.parametrize("augmentation", ["dsa", "flip", "always_color_cutmix"])
def test_a_teacher_labels_what_is_augmented_and_mixed(augmentation: Any, mixed: dict[str, float]) -> None:
    artifact, protocol = made(f"teacher,{SHORT}"), replace(PROTOCOL, augmentation=augmentation, **mixed)
    evaluator = evaluator_of(protocol, name="of no digits")
    assert course_on(evaluator, artifact, 0).kind == "logits"
    for images, labels in batches(artifact, 5, evaluator):
        torch.testing.assert_close(labels, answers(artifact, images))


def test_a_teacher_of_certain_and_right_answers_trains_as_classes_do() -> None:
    hard, protocol = made("hard"), replace(PROTOCOL, augmentation="none")
    plain, evaluator = evaluator_of(protocol).train(hard, 0), evaluator_of(protocol)
    taught = replace(hard, teacher={name: own.detach() for name, own in evaluator.module.named_parameters()})
    evaluator.training(NETWORK, protocol)
    images, classes = hard.decode()

    def certain(weights: object, batch: Tensor) -> Tensor:
        nearest = torch.cdist(batch.flatten(1), images.flatten(1)).argmin(1)
        return 1000.0 * F.one_hot(classes[nearest], 3)

    vars(evaluator.others[str(NETWORK), protocol.name])["predict"] = certain
    for name, weight in evaluator.train(taught, 0).items():
        torch.testing.assert_close(weight, plain[name])


def test_stored_labels_are_the_teachers_for_the_same_augmented_images() -> None:
    live, artifact = made(f"teacher,{SHORT}"), made(f"stored,passes=3,{SHORT}")
    stored = artifact.stored
    assert stored is not None
    assert artifact.label_source == "stored"
    assert (stored.logits.shape, stored.logits.dtype) == ((3, 6, 3), torch.float16)
    assert artifact.stored_bytes()["labels"] == 6 * 8 + 3 * 6 * 3 * 2
    augment, images = DSA.for_dataset("digits"), artifact.parts["images"]
    for epoch in range(5):
        views = augment(images, seeded(derive_seed("stored labels", stored.seed, epoch % 3)))
        torch.testing.assert_close(stored.labels(epoch), answers(live, views), rtol=1e-3, atol=1e-3)


def test_a_training_goes_through_the_stored_epochs_and_begins_anew() -> None:
    live, artifact = made(f"teacher,{SHORT}"), made(f"stored,passes=2,{SHORT}")
    found = batches(artifact, 6, evaluator_of())  # of 4 and 2 images: three epochs
    assert [len(images) for images, _ in found] == [4, 2] * 3
    for images, labels in found:
        torch.testing.assert_close(labels, answers(live, images), rtol=1e-3, atol=1e-3)

    def of(epoch: int) -> Tensor:
        images = torch.cat([images for images, _ in found[2 * epoch : 2 * epoch + 2]]).flatten(1)
        return images[images.sum(1).argsort()]

    assert torch.equal(of(0), of(2))
    assert not torch.equal(of(0), of(1))


def test_batch_norm_of_a_teacher_is_tested_with_averages() -> None:
    network = NetworkSpec(name="convnet", parameters={"depth": 1, "width": 8, "norm": "running_batch"})
    task = tiny_task(network=network)
    artifact = RandomReal(labels=f"teacher,{SHORT}").distill(task, Meter(Budget(), snapshots=()))
    evaluator = evaluator_of(network=network)
    assert artifact.teacher is not None
    images = tiny_dataset().train_images[:64]
    weights = dict(artifact.teacher)
    logits = evaluator.predict(weights, evaluator.transform(images))
    alone = torch.cat([evaluator.predict(weights, evaluator.transform(image[None])) for image in images])
    torch.testing.assert_close(logits, alone)  # whatever is in the batch
    right = (logits.argmax(1) == tiny_dataset().train_labels[:64]).float().mean()
    assert right > 0.5


@pytest.mark.parametrize("labels", [f"teacher,{SHORT}", f"stored,passes=2,{SHORT}"])
def test_the_contract_is_kept(labels: str) -> None:
    members = {"tiny": {"labels": labels}, "settings": ("random", "attack"), "name": "soft"}
    assert check_method(dataclass(frozen=True)(type("Soft", (RandomReal,), members))) == []


def test_a_divergence_may_be_minimised_from_classes_with_a_teacher() -> None:
    protocol = replace(PROTOCOL, losses=(("kl", 1.0),), temperature=4.0)
    targets = DistilledDataset.pixels(torch.randn(6, 1, 8, 8), torch.randn(6, 3), label_kind="targets")
    with pytest.raises(UserError, match="minimises a divergence"):
        course_on(evaluator_of(protocol), targets, 0)
    taught = replace(targets, teacher=made(f"teacher,{SHORT}").teacher)
    assert course_on(evaluator_of(protocol), taught, 0).kind == "logits"


# -- what is refused --------------------------------------------------------------------------------------------------


def stored_of(**changes: Any) -> StoredLabels:
    given: dict[str, Any] = {"logits": torch.zeros(2, 6, 3, dtype=torch.float16), "augmentation": "dsa", "seed": 0}
    return StoredLabels(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"logits": torch.zeros(2, 6, 3)}, r"they must be \(E, N, K\) float16"),
        ({"logits": torch.zeros(6, 3, dtype=torch.float16)}, r"they must be \(E, N, K\) float16"),
        ({"augmentation": "always_color_cutmix"}, "of augmentation 'always_color_cutmix'; known are none, dsa"),
        ({"seed": -1}, "have the seed -1"),
        ({"seed": True}, "have the seed True"),
    ],
)
def test_stored_labels_that_cannot_be_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(made("hard"), stored=stored_of(**changes))


def test_one_source_labels_the_images() -> None:
    with pytest.raises(ValueError, match="keep one of the two"):
        replace(made(f"teacher,{SHORT}"), stored=stored_of())


def test_a_teacher_of_another_network_is_refused() -> None:
    artifact = made(f"teacher,{SHORT}").with_provenance({"network": {"name": "mlp", "parameters": {}}})
    with pytest.raises(UserError, match="teacher is no mlp, which its header names"):
        batches(artifact, 1, evaluator_of())


@pytest.mark.parametrize("labels", [f"teacher,{SHORT}", f"stored,passes=2,{SHORT}"])
def test_a_kernel_does_not_take_the_classes_for_what_a_network_answers(labels: str) -> None:
    kernel = evaluator_of().under(NETWORK, KernelProtocol("k@1", "test", "fc"))
    with pytest.raises(
        UserError, match=r"label source is '(teacher|stored)', and this protocol reads the one label of"
    ):
        kernel.score(made(labels), seed=0)


def test_labels_of_epochs_need_the_same_images_in_each() -> None:
    with pytest.raises(UserError, match="cannot be stored for canvas, which makes other images in each"):
        made(f"stored,{SHORT}", decoder="canvas,factor=1")


def test_stored_labels_fit_images_and_classes(tmp_path: Path) -> None:
    hard = made("hard")
    wrong = replace(hard, stored=stored_of(logits=torch.zeros(2, 6, 4, dtype=torch.float16)))
    with pytest.raises(ValueError, match="the task has 3 classes"):
        check_artifact(wrong, (1, 8, 8), 3, 2)
    replace(hard, stored=stored_of(logits=torch.zeros(2, 5, 3, dtype=torch.float16))).save(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="6 images but stored labels that are"):
        DistilledDataset.load(tmp_path / "x.safetensors")


@pytest.mark.parametrize("damage", ["header", "tensor", "seed"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "made.safetensors"
    replace(made("hard"), stored=stored_of()).save(path)
    header, tensors = read_tensors(path)
    if damage == "header":
        del header["stored"]
    elif damage == "tensor":
        del tensors["stored.logits"]
    else:
        del header["stored"]["seed"]
    path.write_bytes(tensor_bytes(tensors, header))
    with pytest.raises(UserError, match="is no sound artefact"):
        DistilledDataset.load(path)
