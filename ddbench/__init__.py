"""ddbench: run, score and compare dataset-distillation methods under equal budgets."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbench.artifact import DistilledDataset, Recipe
    from ddbench.checkpoint import State
    from ddbench.data import load_dataset
    from ddbench.decoders import Decoder
    from ddbench.errors import UserError
    from ddbench.loading import DistilledImages, load
    from ddbench.meter import Meter
    from ddbench.protocols import Protocol, register_protocol
    from ddbench.record_files import read_record
    from ddbench.records import Record
    from ddbench.registry import DATASETS, METHODS, NETWORKS, PROTOCOLS, discover, register_method
    from ddbench.task import Method, Task

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
    "discover",
    "load",
    "load_dataset",
    "read_record",
    "register_method",
    "register_protocol",
]

# A registry's home is a module that fills it.
_HOMES = {
    "artifact": ("DistilledDataset", "Recipe"),
    "checkpoint": ("State",),
    "data": ("load_dataset",),
    "data.builtin": ("DATASETS",),
    "decoders": ("Decoder",),
    "errors": ("UserError",),
    "loading": ("DistilledImages", "load"),
    "meter": ("Meter",),
    "networks.base": ("NETWORKS",),
    "protocols": ("PROTOCOLS", "Protocol", "register_protocol"),
    "record_files": ("read_record",),
    "records": ("Record",),
    "registry": ("METHODS", "discover", "register_method"),
    "task": ("Method", "Task"),
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: `ddbench --help` needs no torch."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"ddbench.{module}"), name)
    raise AttributeError(f"module 'ddbench' has no attribute {name!r}")
