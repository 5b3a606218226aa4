"""Networks of torchvision, whose ImageNet weights can be adapted to other data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from ddbench.errors import UserError
from ddbench.networks.base import Network, check_choice
from ddbench.networks.surgery import named, replaced_stem
from ddbench.records.packages import REBUILT
from ddbench.registry import NETWORKS

OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception": {"aux_logits": False, "init_weights": True},
}
"""what models are made with, by the beginning of their names: one output, and no warning of a change to come"""


@NETWORKS.register("torchvision")
def torchvision_model(shape: tuple[int, int, int], classes: int, *, model: str = "alexnet") -> nn.Module:
    """A classifier of torchvision for ImageNet without its dropout, adapted to these images and classes.

    The fresh weights of `REBUILT` are drawn as those of the networks of ddbench, those of the others by torchvision.

    Args:
        model: a name that `torchvision.models.list_models(module=torchvision.models)` lists

    Raises:
        UserError: an unknown model, or one whose patches do not fit the images.
    """
    if model in REBUILT:
        return Torchvision(shape, classes, model=model)
    import torchvision  # imported here, since it takes a second

    check_choice("model", model, torchvision.models.list_models(module=torchvision.models))
    if model.startswith("squeezenet"):
        return SqueezeNet(shape, classes, model=model)
    options = {"num_classes": classes, **OPTIONS.get(model.partition("_")[0], {}), **_sizes(model, shape)}
    made: nn.Module = torchvision.models.get_model(model, weights=None, **options)
    return made


class Torchvision(Network):
    """A network of torchvision for ImageNet without its dropout, with a classifier for these classes.

    Args:
        model: `alexnet`, `vgg11`, `vgg13`, `vgg16` or `vgg19`
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, *, model: str = "alexnet") -> None:
        import torchvision

        check_choice("model", model, REBUILT)
        whole = torchvision.models.get_model(model, weights=None, num_classes=classes, dropout=0.0)
        _fit_channels(whole, shape, model)
        super().__init__(*_parts(whole))
        images = torch.zeros(1, *shape)
        if images.is_meta:  # where `build_network` looks at it, which takes no time
            named(lambda: self.features(images), f"torchvision:{model}", images)


class SqueezeNet(Network):
    """A SqueezeNet of torchvision, which classifies by a convolution and averages last; `embed` gives its last map."""

    own_initialisation = True

    def __init__(self, shape: tuple[int, int, int], classes: int, *, model: str) -> None:
        import torchvision

        whole = torchvision.models.get_model(model, weights=None, num_classes=classes, dropout=0.0)
        _fit_channels(whole, shape, model)
        images = torch.zeros(1, *shape)
        size = named(lambda: whole.features(images), f"torchvision:{model}", images).shape[1:]
        super().__init__(whole.features, nn.Sequential(nn.Unflatten(1, tuple(size)), whole.classifier, nn.Flatten()))


def _fit_channels(whole: Any, shape: tuple[int, int, int], model: str) -> None:
    if whole.features[0].in_channels != shape[0]:
        replaced_stem(whole, "features.0", shape[0], f"torchvision:{model}")


def _sizes(model: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return the argument for the side of images that a model with patches has."""
    _, height, width = shape
    if model.startswith("maxvit"):
        return {"input_size": (height, width)}
    if not model.startswith("vit_"):
        return {}
    patch = int(model.rpartition("_")[2])
    if height != width or height % patch:
        raise UserError(
            f"torchvision:{model} cuts square images into patches of {patch} pixels, these are {height}x{width}; "
            "resize them, or choose another model"
        )
    return {"image_size": height}


def save_pretrained(model: str, classes: int, file: Path) -> None:
    """Download torchvision's ImageNet weights and write them as a board's `pool: {weights: FILE}` takes them.

    The last layer, for ImageNet's classes, is replaced by one for `classes` whose weights are 0 and biases 1, as in
    Wang et al., "Dataset Distillation", 2018, arXiv 1811.10959.

    Raises:
        UserError: a model that `network: torchvision` does not know.
    """
    import torchvision

    check_choice("model", model, REBUILT)
    whole = torchvision.models.get_model(model, weights="DEFAULT")
    last = nn.Linear(whole.classifier[-1].in_features, classes)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(1.0)
    whole.classifier[-1] = last
    save_network(whole, file)


def save_network(whole: nn.Module, file: Path) -> None:
    """Write all weights of a network of your own as a board's `pool: {weights: FILE}` takes them.

    Args:
        whole: one of torchvision's `REBUILT`, or a network with the same parts: features, avgpool and classifier
    """
    weights = Network(*_parts(whole)).named_parameters()
    save_file({name: weight.detach().contiguous() for name, weight in weights}, file)


def _parts(whole: Any) -> tuple[nn.Sequential, nn.Linear]:
    """Return the layers before the last one without dropout, and the last layer."""
    *hidden, last = whole.classifier
    kept = [layer for layer in hidden if not isinstance(layer, nn.Dropout)]
    return nn.Sequential(whole.features, whole.avgpool, nn.Flatten(), *kept), last
