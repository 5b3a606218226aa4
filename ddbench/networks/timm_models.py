"""Models of timm, an optional package: `pip install 'ddbench[timm]'`."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from ddbench.errors import UserError
from ddbench.networks.base import check_choice
from ddbench.registry import NETWORKS


@NETWORKS.register("timm")
def timm_model(shape: tuple[int, int, int], classes: int, *, model: str = "resnet18") -> nn.Module:
    """A model of timm without its pretrained weights, adapted to these images and classes; `timm:NAME`.

    Args:
        model: a name that `timm.list_models()` lists

    Raises:
        UserError: when timm is not installed, or has no such model.
    """
    timm = _timm()
    check_choice("timm model", model, timm.list_models())
    options = {"pretrained": False, "num_classes": classes, "in_chans": shape[0]}
    try:
        made: nn.Module = timm.create_model(model, **options, img_size=shape[1:])
    except TypeError:  # it takes images of any size
        made = timm.create_model(model, **options)
    return made


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise UserError("networks timm:NAME need timm; pip install 'ddbench[timm]'") from error
    module: ModuleType = timm
    return module
