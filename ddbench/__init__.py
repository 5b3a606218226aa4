"""ddbench: run, score and compare dataset-distillation methods under equal budgets."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddbench.analyses.analysis import Analysis as Analysis
    from ddbench.analyses.analyze import analyze as analyze
    from ddbench.analyses.subject import Subject as Subject
    from ddbench.artifacts.card import card as card
    from ddbench.artifacts.distilled_dataset import DistilledDataset as DistilledDataset
    from ddbench.artifacts.export import export as export
    from ddbench.artifacts.releases import convert as convert
    from ddbench.artifacts.show import show as show
    from ddbench.artifacts.torch_dataset import DistilledImages as DistilledImages
    from ddbench.artifacts.torch_dataset import load as load
    from ddbench.boards.results import results as results
    from ddbench.compute.compiling import Weights as Weights
    from ddbench.data import load_dataset as load_dataset
    from ddbench.decoders import Decoder as Decoder
    from ddbench.errors import UserError as UserError
    from ddbench.evaluation.protocols import Protocol as Protocol
    from ddbench.evaluation.protocols import register_protocol as register_protocol
    from ddbench.evaluation.score_file import score as score
    from ddbench.meter.checkpoint import State as State
    from ddbench.meter.meter import Meter as Meter
    from ddbench.records.files import read_record as read_record
    from ddbench.records.findings import Findings as Findings
    from ddbench.records.findings import Measure as Measure
    from ddbench.records.findings import Series as Series
    from ddbench.records.metrics import Metric as Metric
    from ddbench.records.schema import Record as Record
    from ddbench.registry import DATASETS as DATASETS
    from ddbench.registry import METHODS as METHODS
    from ddbench.registry import NETWORKS as NETWORKS
    from ddbench.registry import PROTOCOLS as PROTOCOLS
    from ddbench.registry import discover as discover
    from ddbench.registry import register_analysis as register_analysis
    from ddbench.registry import register_method as register_method
    from ddbench.registry import register_study as register_study
    from ddbench.runs.api import distill as distill
    from ddbench.runs.api import evaluate as evaluate
    from ddbench.runs.api import plan as plan
    from ddbench.runs.race import race as race
    from ddbench.runs.tensorboard import TensorBoard as TensorBoard
    from ddbench.runs.tune import tune as tune
    from ddbench.studies.conduct import study as study
    from ddbench.submissions.hub import get as get
    from ddbench.submissions.hub import push as push
    from ddbench.submissions.replay import replay as replay
    from ddbench.submissions.submit import submit as submit
    from ddbench.submissions.verify import verify as verify
    from ddbench.task.search_space import Choice as Choice
    from ddbench.task.search_space import IntegerRange as IntegerRange
    from ddbench.task.search_space import LogRange as LogRange
    from ddbench.task.task import Method as Method
    from ddbench.task.task import Task as Task
    from ddbench.testing import check_method as check_method

__version__ = "0.1.0"

# The home of each public name; a registry's home is a module that fills it.
_HOMES = {
    "analyses.analysis": ("Analysis",),
    "analyses.analyze": ("analyze",),
    "analyses.subject": ("Subject",),
    "artifacts.card": ("card",),
    "artifacts.distilled_dataset": ("DistilledDataset",),
    "artifacts.recipe": ("Recipe",),
    "artifacts.show": ("show",),
    "artifacts.export": ("export",),
    "artifacts.releases": ("convert",),
    "artifacts.torch_dataset": ("DistilledImages", "load"),
    "compute.compiling": ("Weights",),
    "data": ("load_dataset",),
    "data.builtin": ("DATASETS",),
    "decoders": ("Decoder",),
    "errors": ("UserError",),
    "evaluation.protocols": ("Protocol", "register_protocol"),
    "evaluation.score_file": ("score",),
    "graphs.evaluator": ("PROTOCOLS",),
    "boards.results": ("results",),
    "meter.checkpoint": ("State",),
    "meter.meter": ("Meter",),
    "networks.build": ("NETWORKS",),
    "records.files": ("read_record",),
    "records.findings": ("Findings", "Measure", "Series"),
    "records.metrics": ("Metric",),
    "records.schema": ("Record",),
    "registry": ("METHODS", "discover", "register_analysis", "register_method", "register_study"),
    "runs.api": ("distill", "evaluate", "plan"),
    "runs.race": ("race",),
    "runs.tensorboard": ("TensorBoard",),
    "runs.tune": ("tune",),
    "studies.conduct": ("study",),
    "submissions.hub": ("get", "push"),
    "submissions.replay": ("replay",),
    "submissions.submit": ("submit",),
    "submissions.verify": ("verify",),
    "task.search_space": ("Choice", "IntegerRange", "LogRange"),
    "task.task": ("Method", "Task"),
    "testing": ("check_method",),
}
__all__ = sorted(name for names in _HOMES.values() for name in names)


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: `ddbench --help` needs no torch."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"ddbench.{module}"), name)
    raise AttributeError(f"module 'ddbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, and no modules and helpers that this one happens to import."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
