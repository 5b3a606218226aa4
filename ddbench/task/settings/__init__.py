"""Settings of a cell, a file each: where networks start and what they are to answer."""

from __future__ import annotations

from ddbench.task.settings.attack import AttackSetting
from ddbench.task.settings.base import Setting, SettingInputs
from ddbench.task.settings.fixed import FixedSetting
from ddbench.task.settings.pretrained import PretrainedSetting
from ddbench.task.settings.random import RandomSetting

SETTINGS: dict[str, type[Setting]] = {
    cls.name: cls for cls in (RandomSetting, FixedSetting, PretrainedSetting, AttackSetting)
}

__all__ = ["SETTINGS", "RandomSetting", "Setting", "SettingInputs"]
