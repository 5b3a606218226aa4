"""Where an artefact says that it comes from: what scoring it follows, checked, since a stranger may have written it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ddbench.errors import UserError
from ddbench.records import Attack, Network
from ddbench.schema import Digest, Name, Word, complaint

MOST_NETWORKS = 1000
"""that an artefact may ask to be scored with; boards ask for up to 200"""


class Provenance(BaseModel):
    """What scoring needs; an artefact says more."""

    model_config = ConfigDict(allow_inf_nan=False)

    dataset: Name
    """never a path: no stranger says which file is opened here"""
    dataset_digest: Digest
    method: Name
    ipc: int = Field(gt=0, strict=True)
    network: Network
    preprocessing: dict[str, Any]
    protocol: Word
    networks: int | None = Field(default=None, gt=0, le=MOST_NETWORKS, strict=True)
    attack: Attack | None = None


def check_provenance(provenance: Mapping[str, Any], file: Path) -> Provenance:
    """What scoring needs of an artefact's header; one that cannot be scored from its file alone is refused.

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
