"""Networks of a user's own file: its class, and what is given to it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from ddbench.errors import UserError, suggestion
from ddbench.records.network_files import network_file, unknown_class
from ddbench.registry import NETWORK_FILE

SHAPE, CLASSES, CHANNELS, SIDE = (
    ("shape", "input_shape", "image_shape"),
    ("classes", "num_classes", "n_classes"),
    ("channels", "in_channels", "in_chans", "num_channels"),
    ("image_size", "img_size", "side"),
)
"""names of arguments that the data set decides"""
Factory = Callable[..., nn.Module]


def factory_of(name: str, code: str) -> Factory:
    """Return the class, or the function, of a file that this process knows; the file is run if it was not yet.

    Raises:
        UserError: when the file is not known, has changed, does not run, or has no such class.
    """
    path, cls = network_file(name, code), name.rpartition(".")[2]
    found = getattr(_module(path, code), cls, None)
    if not callable(found):
        raise unknown_class(path, cls)
    factory: Factory = found
    return factory


def arguments(factory: Factory, label: str, shape: tuple[int, int, int], classes: int) -> dict[str, Any]:
    """Return what of a factory's arguments the data set decides, by name.

    A class may take (C, H, W) as `shape`, or `channels` and `image_size`, and K as `classes`; see the tables above.

    Raises:
        UserError: when it needs something else that has no default.
    """
    channels, height, width = shape
    side = height if height == width else (height, width)
    known: dict[str, Any] = dict.fromkeys(SHAPE, shape)
    known |= dict.fromkeys(CLASSES, classes) | dict.fromkeys(CHANNELS, channels) | dict.fromkeys(SIDE, side)
    return {name: known[name] for name in signature_of(factory, label) if name in known}


def signature_of(factory: Factory, label: str) -> dict[str, inspect.Parameter]:
    """Return the arguments of a factory that can be given by name."""
    try:
        signature = inspect.signature(factory, eval_str=True)
    except (NameError, TypeError, SyntaxError):
        signature = inspect.signature(factory)
    except ValueError as error:
        raise UserError(f"{label} does not say its arguments; give a class or a function of Python") from error
    return {name: p for name, p in signature.parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}


def check_arguments(
    factory: Factory, label: str, given: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, inspect.Parameter]:
    """Return the arguments that a user may set.

    Args:
        given: what the data set decides
        parameters: what the user sets

    Raises:
        UserError: for one that the data set decides, that is not there, or that is missing.
    """
    known = {name: p for name, p in signature_of(factory, label).items() if name not in given}
    for name in parameters:
        if name in given:
            raise UserError(f"{name} of {label} is {given[name]!r}, which the data set decides; leave it out")
        if name not in known:
            fix = suggestion(name, known) if known else "it takes none"
            raise UserError(f"network {label!r} has no parameter {name!r}; {fix}")
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in parameters:
            raise UserError(f"network {label} needs {name!r}; set it, {name}=VALUE, or give it a default")
    return known


def last_line(error: BaseException) -> str:
    """Return kind and first line of an error, as part of a sentence."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}".removesuffix(": ")


def _module(path: Path, code: str) -> ModuleType:
    """Run a file once for each content; what Python has compiled of it is not kept, since it may be of another."""
    name = f"{NETWORK_FILE}{path.stem}_{code}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UserError(f"{path} does not import: {last_line(error)}; mend it") from error
    return module
