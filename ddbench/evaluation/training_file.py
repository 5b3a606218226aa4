"""The file that a run on images learns from: training images, labels and networks to learn with, and nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ddbench.data import Dataset
from ddbench.errors import UserError
from ddbench.evaluation.modality import TrainingFile
from ddbench.io.atomic import canonical_json, digest, write_atomically
from ddbench.io.safetensors_files import read_tensors, tensor_bytes


@dataclass(frozen=True)
class TrainingData:
    """What such a file holds.

    Args:
        data: a data set whose test split is empty
        networks: weights of pretrained networks to learn with, (networks, P), where the setting has some
        held_out: digest of those that are kept back to score with
    """

    data: Dataset
    networks: Tensor | None = None
    held_out: str | None = None


def write_training_file(folder: Path, content: TrainingData) -> TrainingFile:
    """Write what runs of a cell may see, under a name that says which data and networks it is of."""
    data = content.data
    tensors = {"images": data.train_images.cpu(), "labels": data.train_labels.cpu()}
    if content.networks is not None:
        tensors["networks"] = content.networks.cpu().contiguous()
    header = {
        "name": data.name,
        "digest": data.digest,
        "classes": list(data.classes),
        "held_out": content.held_out,
    }
    payload = tensor_bytes(tensors, header)
    path = folder / f"{digest(canonical_json(header))[7:23]}.safetensors"
    write_atomically(path, payload)
    return TrainingFile(path, digest(payload))


def read_training_file(file: TrainingFile) -> TrainingData:
    """Read such a file.

    Raises:
        UserError: when it is gone or is not what was written.
    """
    try:
        with file.path.open("rb") as content:
            found = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    except OSError as error:
        raise UserError(f"{file.path} cannot be read ({error.strerror}); run the command again") from error
    if found != file.digest:
        raise UserError(f"{file.path} was changed after it was written; run the command again")
    header, tensors = read_tensors(file.path)
    images, labels = tensors["images"], tensors["labels"]
    data = Dataset(
        header["name"],
        images,
        labels,
        torch.empty(0, *images.shape[1:], dtype=images.dtype),
        torch.empty(0, dtype=labels.dtype),
        tuple(header["classes"]),
        header["digest"],
    )
    return TrainingData(data, tensors.get("networks"), header["held_out"])
