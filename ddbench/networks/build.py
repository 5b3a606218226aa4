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
    make = _factory(name, shape, classes, parameters)
    if not _is_network(_sketch(name, make), parameters):
        return _adapted(name, make, shape, classes, parameters)
    network: Any = make()
    network.remake = make
    return cast(Network, network)


def check_network(name: str, shape: tuple[int, int, int], classes: int, parameters: Mapping[str, Any]) -> None:
    """Raise UserError where `build_network` would; a network that needs no adapting is not given numbers for that."""
    make = _factory(name, shape, classes, parameters)
    if not _is_network(_sketch(name, make), parameters):
        _adapted(name, make, shape, classes, parameters)


def stated(network: NetworkSpec, shape: tuple[int, int, int]) -> NetworkSpec:
    """Return a network with those parameters stated that depend on the images' size where they are left out.

    A registered network may have `usual`, which gives them for (C, H, W). They are no defaults of the class: an
    artefact that was made before they were stated names the network that it had.
    """
    usual = getattr(NETWORKS.get(network.name), "usual", None) if network.name in NETWORKS else None
    return network if usual is None else network.model_copy(update={"parameters": usual(shape) | network.parameters})


def _factory(
    name: str, shape: tuple[int, int, int], classes: int, parameters: Mapping[str, Any]
) -> Callable[[], nn.Module]:
    """Return what makes the module, with parameters that it takes."""
    check_version(name, parameters)
    of_package = {VERSION} if name in PACKAGES else set()
    own = {key: value for key, value in parameters.items() if key not in {CODE, *of_package}}
    factory = factory_of(name, str(parameters[CODE])) if CODE in parameters else NETWORKS.get(name)
    given = arguments(factory, name, shape, classes)
    for key, argument in check_arguments(factory, name, given, own).items():
        if key in own:
            _check_value(name, key, own[key], argument.annotation)
    return partial(factory, **given, **own)


def _is_network(sketch: nn.Module | None, parameters: Mapping[str, Any]) -> bool:
    """Return whether a module is one that needs no adapting."""
    return isinstance(sketch, Network) or (CODE not in parameters and hasattr(sketch, "embed"))


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


def _adapted(
    name: str, make: Callable[[], nn.Module], shape: tuple[int, int, int], classes: int, parameters: Mapping[str, Any]
) -> Network:
    label = f"{name}:{parameters['model']}" if "model" in parameters else name
    source = Source(label, partial(_called, make, label), shape, classes)
    key = (name, *sorted(parameters.items()), shape, classes)
    if key not in _PLACES:
        _PLACES[key] = places_of(source)
    network = adapted(source, _PLACES[key])
    _check_size(label, network)
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
