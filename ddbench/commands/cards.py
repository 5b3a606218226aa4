"""An artefact ready to be published: beside it the card that says what it is."""

from __future__ import annotations

from pathlib import Path

from ddbench.artifact import DistilledDataset, file_digest
from ddbench.cards import dataset_card
from ddbench.errors import UserError
from ddbench.files import write_atomically
from ddbench.provenance import check_provenance
from ddbench.record_files import read_record


def card(file: Path, out: Path, record: Path | None = None) -> Path:
    """Write a dataset card, `README.md`, into `out`, and the artefact beside it: the folder of a Hugging Face data set.

    Args:
        record: of the run that made the artefact, for its scores

    Raises:
        UserError: when the artefact or the record is not sound, they do not belong together, or `out` has another
            README.md or another file of the artefact's name.
    """
    artifact = DistilledDataset.load(file)
    check_provenance(artifact.provenance, file)
    scored = read_record(record) if record else None
    if scored is not None and scored.result.artifact != file_digest(file):
        raise UserError(f"{record} is of the artefact {scored.result.artifact}, and {file} is {file_digest(file)}")
    readme = out / "README.md"
    contents = {readme: dataset_card(artifact, file.name, scored).encode(), out / file.name: file.read_bytes()}
    for path, data in contents.items():
        if path.exists() and path.read_bytes() != data:
            raise UserError(f"{path} exists and is another; remove it, or choose another --out")
    for path, data in contents.items():
        write_atomically(path, data)
    return readme
