"""Tileable textures: windows at any place of a borderless canvas train a network.

Cazenavette, Wang, Torralba, Efros & Zhu, "Wearable ImageNet: Synthesizing Tileable Textures via Dataset Distillation",
CVPR workshops 2022.
"""

from dataclasses import dataclass
from typing import ClassVar

from ddbench import DistilledDataset, Meter, Task, register_method
from ddbench.families.synthetic_set import Init, Parametrisation
from ddbench.families.trajectory_matching import TrajectoryMatchingSettings, match_trajectories


@register_method("tileable_textures", aliases=["textures"])
@dataclass(frozen=True)
class TileableTextures(TrajectoryMatchingSettings):
    """Trajectory matching of textures. Cazenavette et al., CVPR workshops 2022.

    Every use of a canvas, by a student and by evaluation alike, cuts windows at new random places around its torus, so
    that no place is a border and the canvas tiles without a seam. An outer step costs what one of trajectory matching
    on factor x factor windows of each canvas costs.

    Differences: a canvas takes the storage of the images it replaces, `ipc` in all, where the authors give each class
    a canvas of four images at ipc 1; each gives as many windows as it has images' room, where they take one; learned
    step sizes stay above 1e-4.
    """

    paper: ClassVar[str] = "https://georgecazenavette.github.io/mtt-distillation/"

    decoder: Parametrisation = "canvas,factor=1"
    """size of the canvas along a side, in images, and `crops`, its windows a use"""
    init: Init = "noise"
    """canvases start as `noise`, as the authors advise, or as a mosaic of `real` images"""

    def distill(self, task: Task, meter: Meter) -> DistilledDataset:
        return match_trajectories(task, meter, self)
