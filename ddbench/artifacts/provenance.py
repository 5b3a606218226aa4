"""The provenance in an artefact's header, by which it is scored, checked since it may be untrusted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ddbench.artifacts.checks import check_artifact
from ddbench.artifacts.class_names import checked_names
from ddbench.artifacts.copies import names_doubt
from ddbench.artifacts.distilled_dataset import DistilledDataset
from ddbench.compute.precision import Precision
from ddbench.data import Dataset, load_dataset
from ddbench.errors import UserError, printable
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
    precision: Precision = "float32"
    seed: int | None = Field(default=None, ge=0, strict=True)
    """the run's seed; None for what was converted"""

    @property
    def split(self) -> str:
        """The file alone is scored on the test set, whatever its run was scored on."""
        return "test"

    @property
    def peek(self) -> float | None:
        return None


def check_provenance(provenance: Mapping[str, Any], file: object) -> Provenance:
    """Return what scoring needs of an artefact's header; one that cannot be scored from its file alone is refused.

    Raises:
        UserError: when something is missing, or is not what it should be.
    """
    fields = Provenance.model_fields.items()
    missing = [name for name, field in fields if field.is_required() and name not in provenance]
    if missing:
        raise UserError(f"{file} does not say its {', '.join(missing)}; write it with `ddbench distill`")
    checked_names(provenance, file)
    try:
        return Provenance.model_validate(dict(provenance))
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        raise UserError(f"{file} says of its {place}: {found['input']!r}; {complaint(found)}") from error


def data_of(artifact: DistilledDataset, file: object, dataset: str | None = None) -> Dataset:
    """Load the data set that an artefact was distilled from.

    Args:
        file: where the artefact lies, for messages
        dataset: where the data set lies; None where its name says

    Raises:
        UserError: when it is not here or another one, or the artefact has other classes or images.
    """
    provenance = check_provenance(artifact.provenance, file)
    with naming_the_option(provenance, file, dataset):
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
    doubt = names_doubt(artifact.provenance, data)
    if doubt is not None:
        warnings.warn(printable(f"{file}: {doubt}"), RuntimeWarning, stacklevel=2)
    return data


@contextmanager
def naming_the_option(provenance: Provenance, file: object, dataset: str | None) -> Iterator[None]:
    """Have the message that an artefact's data set is not here under its name say how to give its place."""
    try:
        yield
    except UserError as error:
        if dataset is not None:
            raise
        raise UserError(
            f"{file} was distilled from {provenance.dataset!r}, which is not here by that name ({error}); "
            "give its place with --dataset"
        ) from error
