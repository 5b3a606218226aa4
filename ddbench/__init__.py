"""ddbench: run, score and compare dataset-distillation methods under equal budgets."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbench.artifacts.card import card
    from ddbench.artifacts.distilled_dataset import DistilledDataset, Recipe
    from ddbench.artifacts.pictures import show
    from ddbench.artifacts.releases import convert
    from ddbench.artifacts.torch_dataset import DistilledImages, load
    from ddbench.compute.compiling import Weights
    from ddbench.data import load_dataset
    from ddbench.decoders import Decoder
    from ddbench.errors import UserError
    from ddbench.evaluation.protocols import Protocol, register_protocol
    from ddbench.evaluation.score_file import score
    from ddbench.meter.checkpoint import State
    from ddbench.meter.meter import Meter
    from ddbench.records.files import read_record
    from ddbench.records.schema import Record
    from ddbench.registry import DATASETS, METHODS, NETWORKS, PROTOCOLS, discover, register_method
    from ddbench.runs.api import distill, evaluate
    from ddbench.submissions.submit import submit
    from ddbench.submissions.verify import verify
    from ddbench.task.task import Method, Task
    from ddbench.testing import check_method

__version__ = "0.1.0"

__all__ = [
    "DATASETS",
    "METHODS",
    "NETWORKS",
    "PROTOCOLS",
    "Decoder",
    "DistilledDataset",
    "DistilledImages",
    "Meter",
    "Method",
    "Protocol",
    "Recipe",
    "Record",
    "State",
    "Task",
    "UserError",
    "Weights",
    "card",
    "check_method",
    "convert",
    "discover",
    "distill",
    "evaluate",
    "load",
    "load_dataset",
    "read_record",
    "register_method",
    "register_protocol",
    "score",
    "show",
    "submit",
    "verify",
]

# A registry's home is a module that fills it.
_HOMES = {
    "artifacts.card": ("card",),
    "artifacts.distilled_dataset": ("DistilledDataset", "Recipe"),
    "artifacts.pictures": ("show",),
    "artifacts.releases": ("convert",),
    "artifacts.torch_dataset": ("DistilledImages", "load"),
    "compute.compiling": ("Weights",),
    "data": ("load_dataset",),
    "data.builtin": ("DATASETS",),
    "decoders": ("Decoder",),
    "errors": ("UserError",),
    "evaluation.protocols": ("PROTOCOLS", "Protocol", "register_protocol"),
    "evaluation.score_file": ("score",),
    "meter.checkpoint": ("State",),
    "meter.meter": ("Meter",),
    "networks.base": ("NETWORKS",),
    "records.files": ("read_record",),
    "records.schema": ("Record",),
    "registry": ("METHODS", "discover", "register_method"),
    "runs.api": ("distill", "evaluate"),
    "submissions.submit": ("submit",),
    "submissions.verify": ("verify",),
    "task.task": ("Method", "Task"),
    "testing": ("check_method",),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: `ddbench --help` needs no torch."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"ddbench.{module}"), name)
    raise AttributeError(f"module 'ddbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
