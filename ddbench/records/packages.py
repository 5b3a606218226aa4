"""Models of other packages, `timm:resnet18`: the version of the package is a part of what names the network.

Another version may build, or draw, the same name in another way. As the digest of a file of one's own, the version is a
parameter of the network, so that runs with another one are other runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ddbench.errors import UserError

PACKAGES = ("timm", "torchvision")
"""packages whose models are networks, `timm:resnet18`"""
VERSION = "version"
"""parameter of such a network: the version of its package"""
REBUILT = ("alexnet", "vgg11", "vgg13", "vgg16", "vgg19")
"""torchvision's networks that are sequences of layers without running statistics, whose weights are drawn as those of
our own networks: no version is recorded of them"""


def package_version(package: str) -> str | None:
    """Return the version of an installed package, without what it was built for; None where it is not there."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def with_version(network: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a network that was named here, with the version of its package, if it has one.

    Raises:
        ValueError: when the version is among them already.
    """
    if network not in PACKAGES or (network == "torchvision" and parameters.get("model", REBUILT[0]) in REBUILT):
        return dict(parameters)
    if VERSION in parameters:
        raise ValueError(f"{VERSION} of {network} is that of the installed package, and not to be set; leave it out")
    found = package_version(network)
    return dict(parameters) | ({VERSION: found} if found else {})


def check_version(network: str, parameters: Mapping[str, Any]) -> None:
    """Raise UserError where a network is of another version of its package than the one that is installed."""
    asked, here = parameters.get(VERSION), package_version(network)
    if network in PACKAGES and asked not in (None, here):
        label = f"{network}:{parameters['model']}" if "model" in parameters else network
        raise UserError(
            f"network {label} is of {network} {asked}, and {here or 'none'} is installed; "
            f"pip install {network}=={asked}, or name it again, {label}, for runs of their own"
        )
