"""ddbench: run, score and compare dataset-distillation methods under equal budgets."""

from ddbench.artifact import DistilledDataset, Recipe
from ddbench.checkpoint import State
from ddbench.data import load_dataset
from ddbench.decoders import Decoder
from ddbench.errors import UserError
from ddbench.meter import Meter
from ddbench.protocols import Protocol, register_protocol
from ddbench.records import Record, read_record
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
    "Meter",
    "Method",
    "Protocol",
    "Recipe",
    "Record",
    "State",
    "Task",
    "UserError",
    "discover",
    "load_dataset",
    "read_record",
    "register_method",
    "register_protocol",
]
