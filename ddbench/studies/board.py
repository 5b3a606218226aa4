"""What a study is to do: its rows, data and budget, as boards say it of leaderboards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ddbench.boards.board import Count, Names, Seconds
from ddbench.errors import UserError
from ddbench.records.cell import NetworkSpec
from ddbench.records.fields import Strict, sentence
from ddbench.records.notation import NetworkField

MOST_SEEDS = 100


class StudyBoard(Strict):
    """A study of some methods on one data set, under equal seconds."""

    study: str
    """its name, without a version the newest"""
    settings: dict[str, Any] = {}
    """fields of the study"""
    dataset: str = "digits"
    ipc: Count = 1
    methods: Names
    """rows: `dm`, `dm,lr_images=0.5` with a hyper-parameter, `joint:dm` where the study has such a variant"""
    references: bool = True
    """true adds the study's own rows to compare with"""
    seconds: Seconds
    """what each method may spend on the distillations of a seed, or on each of them, as the study says"""
    seeds: Annotated[int, Field(gt=0, le=MOST_SEEDS, strict=True)] | None = None
    network: NetworkField = NetworkSpec(name="convnet")
    protocol: str | None = None
    networks: Count | None = None
    """networks that are trained for each measurement"""
    threads: Count = 1
    compile: bool | None = None


def make_study_board(content: Mapping[str, Any]) -> StudyBoard:
    """A study's board from plain values.

    Raises:
        UserError: for an unknown field or a value out of its range.
    """
    try:
        return StudyBoard.model_validate(content)
    except ValidationError as error:
        raise UserError(f"study: {sentence(error, lambda path: StudyBoard)}") from error
