"""Construction of networks by name: registered ones, those of files, and modules from elsewhere, adapted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from ddbench.errors import UserError
from ddbench.networks.adapt import Places, Source, adapted, places_of
from ddbench.networks.base import Network, parameter_count
from ddbench.networks.files import arguments, check_arguments, factory_of, last_line
from ddbench.records.cell import NetworkSpec
from ddbench.records.network_files import CODE
from ddbench.records.packages import PACKAGES, VERSION, check_version
from ddbench.registry import NETWORKS

MOST_WIDE = 2**12
"""largest value of a parameter, such as a width or a depth"""
MOST_PARAMETERS = 2**29
"""largest number of parameters, 2 GiB; VGG-19 for ImageNet has a quarter"""
_PLACES: dict[object, Places] = {}
"""what of a module is replaced, of those that were looked at already"""


def build_network(name: str, shape: tuple[int, int, int], classes: int, parameters: Mapping[str, Any]) -> Network:
    """Build a network for (C, H, W) images and K classes: a registered one, or the class of a file that was named here.

    A registered module that is no `Network` and has no `embed`, and every module of a file that is no `Network`, is
    adapted, see `adapted`.

    Args:
        parameters: keyword parameters of the architecture; the others keep their defaults.

    Raises:
        UserError: unknown network or parameter, a value of the wrong type, or one that the architecture refuses, more
            parameters than fit into memory, or another version of the network's package.
    """
    check_version(name, parameters)
    of_package = {VERSION} if name in PACKAGES else set()
    own = {key: value for key, value in parameters.items() if key not in {CODE, *of_package}}
    factory = factory_of(name, str(parameters[CODE])) if CODE in parameters else NETWORKS.get(name)
    given = arguments(factory, name, shape, classes)
    for key, argument in check_arguments(factory, name, given, own).items():
        if key in own:
            _check_value(name, key, own[key], argument.annotation)
    make = partial(factory, **given, **own)
    sketch = _sketch(name, make)
    if isinstance(sketch, Network) or (CODE not in parameters and hasattr(sketch, "embed")):
        network: Any = make()
        network.remake = make
        return cast(Network, network)
    label = f"{name}:{own['model']}" if "model" in own else name
    source = Source(label, partial(_called, make, label), shape, classes)
    return _adapted(source, (name, *sorted(parameters.items())))


def stated(network: NetworkSpec, shape: tuple[int, int, int]) -> NetworkSpec:
    """Return a network with those parameters stated that depend on the images' size where they are left out.

    A registered network may have `usual`, which gives them for (C, H, W). They are no defaults of the class: an
    artefact that was made before they were stated names the network that it had.
    """
    usual = getattr(NETWORKS.get(network.name), "usual", None) if network.name in NETWORKS else None
    return network if usual is None else network.model_copy(update={"parameters": usual(shape) | network.parameters})


def _sketch(name: str, make: Callable[[], nn.Module]) -> nn.Module | None:
    """Return the module without memory, to look at it; None for one that cannot be made without numbers."""
    sketch = None
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            sketch = make()
        except UserError:
            raise
        except Exception:
            return None
    if isinstance(sketch, nn.Module):
        _check_size(name, sketch)
    return sketch


def _called(make: Callable[[], nn.Module], label: str) -> nn.Module:
    try:
        return make()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{label} cannot be made ({last_line(error)}); choose other parameters, or mend it") from error


def _adapted(source: Source, key: tuple[object, ...]) -> Network:
    whole = (*key, source.shape, source.classes)
    if whole not in _PLACES:
        _PLACES[whole] = places_of(source)
    network = adapted(source, _PLACES[whole])
    _check_size(source.label, network)
    return network


def _check_size(name: str, network: nn.Module) -> None:
    if any(map(nn.parameter.is_lazy, network.parameters())):
        return  # it is refused as it is adapted
    count = parameter_count(network)
    if count > MOST_PARAMETERS:
        raise UserError(f"network {name!r} would have {count} parameters; {MOST_PARAMETERS} are the most")


def _check_value(name: str, key: str, value: object, annotation: Any) -> None:
    if not _fits(value, annotation):
        raise UserError(f"{key} of network {name!r} is {value!r}; it must be of type {annotation.__name__}")
    if isinstance(value, int) and value > MOST_WIDE:
        raise UserError(f"{key} of network {name!r} is {value}; {MOST_WIDE} is the most")


def _fits(value: object, annotation: object) -> bool:
    # In Python True is an int and 1 is no float; a user means neither.
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation in (str, bool):
        return type(value) is annotation
    return True
