"""Setting `random`: every network starts from fresh random weights."""

from __future__ import annotations

from typing import ClassVar

from ddbench.task.settings.base import Setting


class RandomSetting(Setting):
    """Networks start from fresh random weights and are to answer the true class, as settings do by default."""

    name: ClassVar[str] = "random"
