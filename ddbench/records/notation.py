"""Parsing of what users write in boards and options: `60s`, `8GB`, `convnet,width=32`, `KEY=VALUE`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from ddbench.errors import UserError
from ddbench.io.documents import parse_yaml
from ddbench.records.cell import NetworkSpec
from ddbench.records.fields import sentence
from ddbench.records.network_files import CODE, is_file_of_network, named_network
from ddbench.records.packages import PACKAGES, with_version

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def parse_seconds(value: object) -> object:
    """Parse seconds from `60s`, `2m`, `1.5h`, or a plain number of seconds; other types are returned as they are.

    >>> parse_seconds("2m")
    120.0
    """
    wanted = "a budget such as 60s, 2m or 1h"
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not {wanted}")
    return _parse_quantity(value, SECONDS, wanted) if isinstance(value, str) else value


def parse_bytes(value: object) -> object:
    """Parse bytes from `8GB`, `512MiB`; other types are returned as they are."""
    return _parse_quantity(value, BYTES, "an amount such as 8GB") if isinstance(value, str) else value


def _parse_quantity(text: str, units: Mapping[str, float], wanted: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", text)
    if match is None or match[2] not in units or float(match[1]) == 0:
        raise ValueError(f"{text!r} is not {wanted}")
    return float(match[1]) * units[match[2]]


def parse_network(value: object) -> object:
    """Parse a network from `convnet`, `convnet,width=32,depth=2` or `{name: convnet, width: 32}`.

    `timm:NAME` and `torchvision:NAME` are models of these packages, whose version becomes a parameter.
    `./net.py:Small` is a class of a file, which is read for its digest and not run.
    """
    if isinstance(value, str):
        name, *settings = value.split(",")
        return _network(name, parse_settings(settings))
    if isinstance(value, Mapping) and "parameters" not in value:
        return _network(value.get("name"), {k: v for k, v in value.items() if k != "name"})
    return value


def _network(name: object, parameters: dict[str, Any]) -> dict[str, Any]:
    parameters = _plain(parameters)
    if not isinstance(name, str):
        return {"name": name, "parameters": parameters}
    package, colon, model = name.partition(":")
    if is_file_of_network(name):
        if CODE in parameters:
            raise ValueError(f"{CODE} is the digest of the file, and not to be set; leave it out")
        name, parameters[CODE] = named_network(name)
    elif package in PACKAGES and colon:
        name, parameters["model"] = package, model
    elif colon:
        raise ValueError(f"a class of a file is written ./{package}.py:{model}, a model of a package timm:NAME")
    return {"name": name, "parameters": with_version(name, parameters)}


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise ValueError(f"{name} is {value!r}; a network's parameters are numbers, words, true or false")
    return parameters


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Parse `["lr=0.5", "init=real"]` into a dictionary; values are read as YAML."""
    parsed = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{setting!r} is not KEY=VALUE")
        try:
            parsed[name.strip()] = parse_yaml(_with_point(value))
        except ValueError as error:
            raise ValueError(f"{setting!r} has no value that YAML can read; quote it") from error
    return parsed


def _with_point(value: str) -> str:
    """Write `1e-3` as `1.0e-3`, since YAML 1.1 reads the former as text."""
    return re.sub(r"^(\s*[-+]?\d+)(e[-+]?\d+\s*)$", r"\1.0\2", value, flags=re.IGNORECASE)


NetworkField = Annotated[NetworkSpec, BeforeValidator(parse_network)]


def make_network(text: str) -> NetworkSpec:
    """Parse a network from the text of an option; see `parse_network`."""
    try:
        return TypeAdapter(NetworkField).validate_python(text)
    except ValidationError as error:
        raise UserError(f"network {text!r}: {sentence(error, lambda path: NetworkSpec)}") from error
