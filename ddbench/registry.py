"""Names for methods, data sets, networks, decoders and protocols, and how plugins add theirs."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from ddbench.errors import UserError
from ddbench.io.atomic import digest
from ddbench.names import Registry as Registry

if TYPE_CHECKING:
    from torch import nn

    from ddbench.analyses.analysis import Analysis
    from ddbench.data.dataset import Dataset
    from ddbench.decoders.base import Decoder
    from ddbench.evaluation.modality import Modality
    from ddbench.evaluation.protocols import AnyProtocol
    from ddbench.studies.study import Study
    from ddbench.task.task import Method

T = TypeVar("T")
PLUGIN_GROUP = "ddbench.methods"
"""entry points of methods"""
EXTENSION_GROUP = "ddbench.extensions"
"""entry points of what scoring needs too: modalities, data sets, networks, decoders, protocols and metrics"""
NETWORK_GROUP = "ddbench.networks"
"""entry points of networks: classes of modules, which need not know of ddbench"""
ANALYSIS_GROUP = "ddbench.analyses"
"""entry points of analyses"""
STUDY_GROUP = "ddbench.studies"
"""entry points of studies"""
METHOD_FILE = "ddbench_method_"
"""prefix of the names of modules that were loaded from a method's file"""
NETWORK_FILE = "ddbench_network_"
"""prefix of the names of modules that were loaded from a network's file"""


METHODS: Registry[type[Method]] = Registry("method")
CONTROL = "control"
"""family of the methods that do not distil"""
DATASETS: Registry[Callable[[], Dataset]] = Registry("dataset")
NETWORKS: Registry[Callable[..., nn.Module]] = Registry("network")
DECODERS: Registry[type[Decoder]] = Registry("decoder")
PROTOCOLS: Registry[AnyProtocol] = Registry("protocol")
MODALITIES: Registry[Modality] = Registry("modality")
ANALYSES: Registry[type[Analysis]] = Registry("analysis")
STUDIES: Registry[type[Study]] = Registry("study")


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that raised while being imported; `reason` is the exception's last line."""

    name: str
    reason: str
    trace: str


BROKEN: dict[str, BrokenPlugin] = {}


def register_method(name: str, *, aliases: Iterable[str] = ()) -> Callable[[type], type]:
    """Register a method class: a frozen dataclass with `distill(task, meter) -> DistilledDataset`."""

    def decorate(cls: type) -> type:
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"method {name!r}: a name is a part of paths; use letters, digits and underscores")
        if not hasattr(cls, "__dataclass_fields__"):
            raise TypeError(f"method {name!r}: put @register_method above @dataclass(frozen=True) on {cls.__name__}")
        if not callable(getattr(cls, "distill", None)):
            raise TypeError(f"method {name!r}: {cls.__name__} needs distill(self, task, meter)")
        cls.name = name  # type: ignore[attr-defined]
        METHODS.register(name, aliases=aliases)(cls)
        return cls

    return decorate


def register_analysis(name: str) -> Callable[[type], type]:
    """Register an analysis: a frozen dataclass with `measures` and `analyse(subject) -> Findings`, see `Analysis`.

    Args:
        name: with its version, `calibration@1`; analyses are never edited, a change is `@2`
    """
    return _register_question(ANALYSES, name, "analyse(self, subject)")


def register_study(name: str) -> Callable[[type], type]:
    """Register a study: a frozen dataclass with `measures`, `parts`, `measure` and `findings`, see `Study`.

    Args:
        name: with its version, `continual@1`; studies are never edited, a change is `@2`
    """
    return _register_question(STUDIES, name, "measure(self, bench, made, seed)")


def _register_question(registry: Registry[Any], name: str, needed: str) -> Callable[[type], type]:
    """Return a decorator that registers a class whose names have versions.

    Args:
        needed: the method that answers, with its arguments
    """
    kind = registry.kind

    def decorate(cls: type) -> type:
        if not re.fullmatch(r"[a-z][a-z0-9_]*@[1-9][0-9]*", name):
            raise ValueError(f"{kind} {name!r}: a name has a version, such as 'calibration@1'")
        if not hasattr(cls, "__dataclass_fields__"):
            raise TypeError(f"{kind} {name!r}: put @register_{kind} above @dataclass(frozen=True)")
        if not callable(getattr(cls, needed.partition("(")[0], None)) or not getattr(cls, "measures", ()):
            raise TypeError(f"{kind} {name!r}: {cls.__name__} needs measures and {needed}")
        cls.name = name  # type: ignore[attr-defined]
        registry.register(name)(cls)
        return cls

    return decorate


def find_analysis(name: str) -> type[Analysis]:
    """Return an analysis by its name; without a version, the newest.

    Raises:
        UserError: for an unknown name; the message has the nearest one.
    """
    return _newest(ANALYSES, name)


def find_study(name: str) -> type[Study]:
    """Return a study by its name, as `find_analysis` does."""
    return _newest(STUDIES, name)


def _newest(registry: Registry[T], name: str) -> T:
    versions = [(int(known.partition("@")[2]), known) for known in registry if known.partition("@")[0] == name]
    return registry.get(max(versions)[1] if versions else name)


def import_modules(package: ModuleType) -> None:
    """Import every module of a package; one that raises is noted in `BROKEN`, and the others are still imported."""
    for module in pkgutil.iter_modules(package.__path__):
        name = f"{package.__name__}.{module.name}"
        _import_guarded(name, functools.partial(importlib.import_module, name))


def discover_all_but_methods() -> None:
    """Import what fills the other registries than that of methods: ddbench's own modules and announced extensions."""
    for name in ("data", "decoders", "networks", "evaluation.protocols", "evaluation.images", "graphs.modality"):
        importlib.import_module(f"ddbench.{name}")
    for package in ("analyses", "studies"):
        import_modules(importlib.import_module(f"ddbench.{package}"))
    for group in (EXTENSION_GROUP, ANALYSIS_GROUP, STUDY_GROUP):
        for point in announced(group):
            _import_guarded(point.name, point.load)
    for point in announced(NETWORK_GROUP):
        if point.name not in NETWORKS:
            _import_guarded(point.name, functools.partial(_register_network, point))


def announced(group: str) -> EntryPoints:
    """Return the entry points that installed packages announce in a group."""
    points: EntryPoints = _all_announced(tuple((place, _changed(place)) for place in sys.path)).select(group=group)
    return points


@functools.lru_cache(maxsize=1)
def _all_announced(places: tuple[tuple[str, int], ...]) -> Any:
    """Read the metadata of all packages: anew where one was installed since, for that takes a tenth of a second."""
    return entry_points()  # of another type before Python 3.12


def _changed(place: str) -> int:
    try:
        return os.stat(place or ".").st_mtime_ns
    except OSError:
        return 0


def _register_network(point: EntryPoint) -> None:
    NETWORKS.register(point.name, module=point.module)(point.load())


def discover() -> None:
    """Import what fills the registries: ddbench's own modules, the methods that ship with it, and announced plugins.

    Raises:
        UserError: when `methods` resolves to a foreign package of that name.
    """
    discover_all_but_methods()
    ours = Path(__file__).resolve().parent.parent / "methods"
    spec = importlib.util.find_spec("methods")  # before the import, which would run foreign code
    places = (spec.submodule_search_locations or [spec.origin or "a built-in module"]) if spec else []
    found = [Path(place).resolve() for place in places]
    if ours not in found:
        raise UserError(
            f"'methods' resolves to {', '.join(map(str, found)) or 'nothing'}, not to {ours}: "
            "run the `ddbench` command, or leave the folder that has its own 'methods'"
        )
    import_modules(importlib.import_module("methods"))
    for point in announced(PLUGIN_GROUP):
        if point.module != "methods":
            _import_guarded(point.name, point.load)


def is_discovered() -> bool:
    """Return True if another process can find all that is registered, by `discover` or in a method's file."""
    registries: tuple[Registry[Any], ...] = (
        METHODS, DATASETS, NETWORKS, DECODERS, PROTOCOLS, MODALITIES, ANALYSES, STUDIES,
    )  # fmt: skip
    groups = PLUGIN_GROUP, EXTENSION_GROUP, NETWORK_GROUP, ANALYSIS_GROUP, STUDY_GROUP
    points = [point for group in groups for point in announced(group)]
    packages = {"ddbench", "methods", *(point.module.partition(".")[0] for point in points)}
    modules = {module.partition(".")[0] for registry in registries for module in registry.modules}
    return all(module in packages or module.startswith((METHOD_FILE, NETWORK_FILE)) for module in modules)


def load_method_file(path: Path) -> type[Method]:
    """Import a method from a file outside any package and return the one class it registered."""
    if not path.is_file():
        raise UserError(f"no method file at {path}; `ddbench new {path.stem}` writes one")
    name = f"{METHOD_FILE}{path.stem}_{digest(str(path.resolve()).encode())[-8:]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise UserError(f"{path} is no Python file; give a method file whose name ends in .py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise UserError(f"{path} does not import: {_last_line(error)}") from error
    registered = [METHODS.get(method) for method in METHODS if METHODS.get(method).__module__ == name]
    if len(registered) != 1:
        raise UserError(f"{path} registers {len(registered)} methods; a method file registers exactly one")
    return registered[0]


def _import_guarded(name: str, load: Callable[[], Any]) -> None:
    try:
        load()
    except (Exception, SystemExit) as error:
        BROKEN[name] = BrokenPlugin(name, _last_line(error), traceback.format_exc())


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def find_method(name: str) -> type[Method]:
    """Return a method class by registered name or alias, or from a `.py` file."""
    return load_method_file(Path(name).resolve()) if name.endswith(".py") else METHODS.get(name)
