"""The artefact: one `.safetensors` file that describes its content and how to train on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ddbench.artifacts.recipe import MOST_STEPS, Recipe, freeze, freeze_recipe, kind_of
from ddbench.artifacts.stored_labels import StoredLabels, frozen_labels, labels_of
from ddbench.decoders import MOST_NUMBERS, Decoder, Pixels, decoded_shapes, make_decoder, settings_of
from ddbench.errors import UserError, printable
from ddbench.io.atomic import digest, write_atomically
from ddbench.io.safetensors_files import Headless, read_tensors, tensor_bytes
from ddbench.records.schema import LabelSource

FORMAT_VERSION = 1
LabelKind = Literal["index", "probabilities", "logits", "targets", "weights"]
LABEL_KINDS = ("index", "probabilities", "logits", "targets", "weights")
NO_DISTRIBUTION = ("targets", "weights")
"""kinds of labels that are numbers of either sign"""


@dataclass(frozen=True)
class DistilledDataset:
    """A distilled training set, detached and copied to the CPU, so that later steps do not change it.

    Args:
        parts: tensors that the decoder turns into images; for `pixels`: `images` (N, C, H, W) float32 in the task's
            preprocessed space and `labels`, (N,) int64 or (N, K) float32
        decoder: a registered decoder
        label_kind: `index` classes, `probabilities` that sum to 1, `logits`, `targets` of a regression, or `weights` of
            the classes' negative log-probabilities
        recipe: learned training settings
        initial: initial weights that a method of the `fixed` setting distilled for, by parameter name
        teacher: weights of a trained network, by parameter name, of the architecture that the provenance names; its
            answers, in evaluation mode, label every batch that a network is trained on, in place of `labels`
        stored: a network's answers for augmented images, epoch by epoch, in place of `labels`; not beside a teacher
        provenance: dataset, preprocessing, method, seed and versions, filled in by the harness

    Raises:
        FloatingPointError: when a part is not finite (the runner records such a run as diverged).
        ValueError: when types do not fit.
    """

    parts: Mapping[str, Tensor]
    decoder: Decoder = field(default_factory=Pixels)
    label_kind: LabelKind = "index"
    recipe: Recipe = field(default_factory=Recipe)
    initial: Mapping[str, Tensor] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    teacher: Mapping[str, Tensor] | None = None
    stored: StoredLabels | None = None

    def __post_init__(self) -> None:
        if self.label_kind not in LABEL_KINDS:
            raise ValueError(f"label_kind {self.label_kind!r} is none of {', '.join(LABEL_KINDS)}")
        object.__setattr__(self, "parts", freeze("parts", self.parts))
        _check_parts(self.decoder, self.parts, self.label_kind)
        object.__setattr__(self, "recipe", freeze_recipe(self.recipe))
        if self.initial is not None:
            object.__setattr__(self, "initial", freeze("initial", self.initial))
        if self.teacher is not None:
            object.__setattr__(self, "teacher", freeze("teacher", self.teacher))
        if self.stored is not None:
            object.__setattr__(self, "stored", frozen_labels(self.stored))
        if self.stored is not None and self.decoder.fresh:
            raise ValueError(f"labels are stored of epochs, and {self.decoder.name} makes other images in each")
        if self.teacher is not None and self.stored is not None:
            raise ValueError("a teacher and stored labels both label the images; keep one of the two")

    @classmethod
    def pixels(
        cls,
        images: Tensor,
        labels: Tensor,
        *,
        label_kind: LabelKind = "index",
        recipe: Recipe | None = None,
        initial: Mapping[str, Tensor] | None = None,
    ) -> DistilledDataset:
        """Make an artefact of plain images, (N, C, H, W), and their labels, (N,) or (N, K)."""
        return cls({"images": images, "labels": labels}, Pixels(), label_kind, recipe or Recipe(), initial)

    def __repr__(self) -> str:
        said = {"method": "an unnamed method", "dataset": "unnamed data", **self.provenance}
        count, size = len(self.decode()[1]), sum(self.stored_bytes().values())
        about = f"{count} images of {said['dataset']} by {said['method']}"
        return printable(f"{about} ({self.decoder.name}, {size / 1000:.1f} kB)")

    def _repr_html_(self) -> str | None:
        """Show the images in a notebook."""
        from ddbench.artifacts.notebook import contact_sheet  # matplotlib takes a second

        return contact_sheet(self)

    def decode(self, epoch: int = 0, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return training images, (M, C, H, W), and labels for one epoch."""
        return self.decoder.decode(self.parts, epoch, generator)

    def stored_bytes(self) -> dict[str, int]:
        """Return the bytes of the image parts, the labels, the recipe and the initial weights, each by name.

        Where there is a teacher, its weights' are beside them; labels of epochs count as labels.
        """
        tensors = self._tensors()

        def size(prefix: str) -> int:
            return sum(value.nbytes for name, value in tensors.items() if name.startswith(prefix))

        labels = size("parts.labels")
        sizes = {
            "images": size("parts.") - labels,
            "labels": labels + size("stored."),
            "recipe": size("recipe."),
            "initial": size("initial."),
        }
        return sizes | ({"teacher": size("teacher.")} if self.teacher else {})

    @property
    def label_source(self) -> LabelSource:
        """What labels the images, see `records.schema.LABELS`."""
        if self.teacher is not None or self.stored is not None:
            return "stored" if self.teacher is None else "teacher"
        return "hard" if self.label_kind == "index" else "static"

    def holds_what(self, other: DistilledDataset) -> bool:
        """Return whether another artefact is the same to the bit, whatever its header says of its origin."""
        return self.with_provenance({}).to_bytes() == other.with_provenance({}).to_bytes()

    def with_provenance(self, provenance: Mapping[str, Any]) -> DistilledDataset:
        return replace(self, provenance=dict(provenance))

    def to_bytes(self) -> bytes:
        """Return the file's content; equal artefacts give equal bytes."""
        header = {
            "format_version": FORMAT_VERSION,
            "decoder": self.decoder.name,
            "decoder_settings": settings_of(self.decoder),
            "label_kind": self.label_kind,
            "recipe": {"epochs": self.recipe.epochs, "momentum": self.recipe.momentum},
            "provenance": self.provenance,
        } | ({} if self.stored is None else {"stored": self.stored.header()})
        return tensor_bytes(self._tensors(), header)

    def save(self, path: Path) -> str:
        """Write the file atomically and return its digest."""
        data = self.to_bytes()
        write_atomically(path, data)
        return digest(data)

    @classmethod
    def load(cls, path: Path) -> DistilledDataset:
        """Read an untrusted artefact and check that it is complete and can be decoded.

        Raises:
            UserError: when the file is missing, truncated, no artefact, or of another format version.
        """
        header, tensors = _read(path)
        if header.get("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{path} has format version {header.get('format_version')!r} and this ddbench reads {FORMAT_VERSION}; "
                "score it with the release that wrote it"
            )
        try:
            recipe = Recipe(lr=tensors.get("recipe.lr"), order=tensors.get("recipe.order"), **header["recipe"])
            artifact = cls(
                _with_prefix(tensors, "parts."),
                make_decoder(header["decoder"], header.get("decoder_settings", {})),
                header["label_kind"],
                recipe,
                _with_prefix(tensors, "initial.") or None,
                dict(header["provenance"].items()),
                _with_prefix(tensors, "teacher.") or None,
                labels_of(header.get("stored"), tensors.get("stored.logits")),
            )
            _check_decoded(artifact)
            return artifact
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, FloatingPointError) as error:
            raise UserError(f"{path} is no sound artefact ({error}); write it again with `ddbench distill`") from error

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"parts.{name}": value for name, value in self.parts.items()}
        for name in ("lr", "order"):
            value = getattr(self.recipe, name)
            if value is not None:
                tensors[f"recipe.{name}"] = value
        for prefix, weights in (("initial", self.initial), ("teacher", self.teacher)):
            tensors |= {f"{prefix}.{name}": value for name, value in (weights or {}).items()}
        if self.stored is not None:
            tensors["stored.logits"] = self.stored.logits
        return tensors


def file_digest(path: Path) -> str:
    """Return the digest of a file's content; a pipe or a device, which may never end, raises UserError."""
    if not path.is_file():
        raise UserError(f"{path} is no file; remove it")
    return digest(path.read_bytes())


def _check_decoded(artifact: DistilledDataset) -> None:
    """Raise ValueError unless it decodes to images and labels, in bounded memory, and its recipe fits their number."""
    images, labels = decoded_shapes(artifact.decoder, artifact.parts)
    rank = getattr(artifact.decoder, "rank", 3)  # of one image, (C, H, W); a decoder of other data says its own
    if images.ndim != 1 + rank or images.dtype != torch.float32 or len(images) == 0:
        raise ValueError(f"its images are {kind_of(images)}; they must be (N, C, H, W) float32")
    if images.numel() == 0:
        raise ValueError(f"its images have no pixels: {kind_of(images)}")
    if len(labels) != len(images):
        raise ValueError(f"{len(images)} images but {len(labels)} labels")
    made, _ = artifact.decode(0, torch.Generator().manual_seed(0))  # operations check more where there are numbers
    if made.shape != images.shape:
        raise ValueError(f"its images are {kind_of(made)}, and by their shapes {kind_of(images)}")
    if artifact.stored is not None and artifact.stored.logits.shape[1] != len(images):
        raise ValueError(f"{len(images)} images but stored labels that are {kind_of(artifact.stored.logits)}")
    order = artifact.recipe.order
    if order is not None:
        check_order(order, len(images))
        if order.shape[1] * images[0].numel() > MOST_NUMBERS:
            raise ValueError(f"recipe.order has batches of {order.shape[1]} images")
        if len(order) * (artifact.recipe.epochs or 1) > MOST_STEPS:
            raise ValueError(f"its recipe has {len(order)} x {artifact.recipe.epochs} steps; {MOST_STEPS} are the most")


def check_order(order: Tensor, count: int) -> None:
    """Raise ValueError where an order names an image that is not there."""
    if int(order.min()) < 0 or int(order.max()) >= count:
        raise ValueError(f"recipe.order names image {int(order.max())} of {count}")


def _check_parts(decoder: Decoder, parts: Mapping[str, Tensor], label_kind: str) -> None:
    missing = [part for part in decoder.needs if part not in parts]
    if missing:
        raise ValueError(f"decoder {decoder.name!r} needs {', '.join(decoder.needs)}; {', '.join(missing)} is missing")
    unknown = [part for part in parts if part not in decoder.needs]
    if unknown:
        raise ValueError(f"decoder {decoder.name!r} reads {', '.join(decoder.needs)}, and not {', '.join(unknown)}")
    if "labels" in parts:
        wanted = (torch.int64, 1) if label_kind == "index" else (torch.float32, 2)
        labels = parts["labels"]
        if (labels.dtype, labels.ndim) != wanted:
            shape = "(N,) int64" if label_kind == "index" else "(N, K) float32"
            raise ValueError(f"labels are {kind_of(labels)}; of kind {label_kind!r} they must be {shape}")


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not os.path.isfile(path):
        raise UserError(f"no artefact at {path}; `ddbench distill` writes one")
    try:
        return read_tensors(path)
    except Headless as error:
        raise UserError(
            f"{path} is a safetensors file without a ddbench header; `ddbench distill` writes one"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is truncated or not a safetensors file ({error}); copy or write it again") from error
