"""What the schemas of records, boards and figures share; strangers may have written what they read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from ddbench.errors import printable, suggestion
from ddbench.io.atomic import LONGEST_NAME, is_name


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError("a name begins with a letter or digit, and has no slashes and no control characters")
    return text


Name = Annotated[str, AfterValidator(_named)]
"""a part of paths and tables"""
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$", max_length=LONGEST_NAME)]
"""a name that links, shells and Markdown take as it is"""
Digest = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9:+(),.= _-]*$", max_length=400)]
"""`sha256:...`, and what was done to the data since"""
Line = Annotated[str, AfterValidator(printable)]
"""free text, which a terminal may show"""
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Logged = Annotated[float, Field(ge=-1e300, le=1e300)]
"""bounded as seconds are, so that sums and differences are finite"""


class Strict(BaseModel):
    """Immutable; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def complaint(detail: ErrorDetails) -> str:
    """What a validator found, as part of a sentence."""
    message = detail["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def sentence(error: ValidationError, model_at: Callable[[list[str]], type[BaseModel]]) -> str:
    """The first complaint as one sentence: where, what, what was given, and the nearest known key.

    Args:
        model_at: gives the model that the last key of a path should be a field of
    """
    # A key that is no key explains better than the required one that it was meant to be.
    detail = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    path = [str(part) for part in detail["loc"] if not str(part).startswith("function-")]
    where = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {where!r}; {suggestion(path[-1], model_at(path).model_fields)}"
    message = complaint(detail)
    given = "" if detail["type"] in ("missing", "value_error") else f", got {detail['input']!r}"
    return f"{where}: {message}{given}" if where else f"{message}{given}"
