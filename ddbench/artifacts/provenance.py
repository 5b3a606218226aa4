"""The provenance in an artefact's header, by which it is scored, checked since it may be untrusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ddbench.artifacts.checks import check_artifact
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.data import Dataset, load_dataset
from ddbench.errors import UserError
from ddbench.records.cell import Attack, GivenWeights, NetworkSpec, Pool, Setting
from ddbench.records.fields import Digest, Name, Word, complaint

MOST_NETWORKS = 1000
"""largest number of networks that an artefact may ask to be scored with; boards ask for up to 200"""


class Provenance(BaseModel):
    """The part of an artefact's provenance that scoring needs."""

    model_config = ConfigDict(allow_inf_nan=False)

    dataset: Name
    """name of the data set; never a path, so that no artefact decides which file is opened"""
    dataset_digest: Digest
    method: Name
    ipc: int = Field(gt=0, strict=True)
    network: NetworkSpec
    preprocessing: dict[str, Any]
    protocol: Word
    networks: int | None = Field(default=None, gt=0, le=MOST_NETWORKS, strict=True)
    modality: Name = "images"
    setting: Setting = "random"
    pool: Pool | GivenWeights | None = None
    attack: Attack | None = None
    seed: int | None = Field(default=None, ge=0, strict=True)
    """the run's seed; None for what was converted"""

    @property
    def split(self) -> str:
        """The file alone is scored on the test set, whatever its run was scored on."""
        return "test"

    @property
    def peek(self) -> float | None:
        return None


def check_provenance(provenance: Mapping[str, Any], file: Path) -> Provenance:
    """Return what scoring needs of an artefact's header; one that cannot be scored from its file alone is refused.

    Raises:
        UserError: when something is missing, or is not what it should be.
    """
    fields = Provenance.model_fields.items()
    missing = [name for name, field in fields if field.is_required() and name not in provenance]
    if missing:
        raise UserError(f"{file} does not say its {', '.join(missing)}; write it with `ddbench distill`")
    try:
        return Provenance.model_validate(dict(provenance))
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        raise UserError(f"{file} says of its {place}: {found['input']!r}; {complaint(found)}") from error


def data_of(artifact: DistilledDataset, file: Path, dataset: str | None = None) -> Dataset:
    """Load the data set that an artefact was distilled from.

    Raises:
        UserError: when it is another one, or the artefact has other classes or images.
    """
    provenance = check_provenance(artifact.provenance, file)
    data = load_dataset(dataset or provenance.dataset)
    wanted = provenance.dataset_digest.partition("+")[0]  # a validation split is a part of the data set
    if data.digest != wanted:
        raise UserError(
            f"{file} was distilled from {provenance.dataset!r} ({wanted[:19]}), but {data.name!r} is another "
            f"data set ({data.digest[:19]}); name the right one with --dataset"
        )
    try:
        check_artifact(artifact, data.shape, len(data.classes), provenance.ipc, provenance.attack)
    except ValueError as error:
        raise UserError(f"{file} does not fit {data.name!r}: {error}; write it again with `ddbench distill`") from error
    return data
