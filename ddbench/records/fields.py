"""Types and messages that the schemas of records, boards and figures share; their input may be untrusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import ErrorDetails

from ddbench.errors import printable, suggestion
from ddbench.io.atomic import LONGEST_NAME, is_name


def _named(text: str) -> str:
    if not is_name(text):
        raise ValueError("a name begins with a letter or digit, and has no slashes and no control characters")
    return text


Name = Annotated[str, AfterValidator(_named)]
"""name that may be a part of paths and tables"""
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$", max_length=LONGEST_NAME)]
"""name that needs no escaping in links, shells and Markdown"""
Digest = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9:+(),.= _-]*$", max_length=400)]
"""`sha256:...`, followed by what was done to the data since"""
Line = Annotated[str, AfterValidator(printable)]
"""free text that a terminal can show"""
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Logged = Annotated[float, Field(ge=-1e300, le=1e300)]
"""logged number, bounded as seconds are, so that sums and differences are finite"""


LATER = object()
"""marks a field that came after records were committed: at its default it is not written, so that what was written and
hashed before stays as it is"""


class Strict(BaseModel):
    """An immutable model; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        silent = {n for n, field in fields.items() if LATER in field.metadata and getattr(self, n) == field.default}
        return {name: value for name, value in write(self).items() if name not in silent}


def complaint(detail: ErrorDetails) -> str:
    """Return a validator's message as part of a sentence."""
    message = detail["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def sentence(error: ValidationError, model_at: Callable[[list[str]], type[BaseModel]]) -> str:
    """Return the first complaint as one sentence: where, what, what was given, and the nearest known key.

    Args:
        model_at: function that returns the model which should have the last key of a path as a field
    """
    # An unknown key explains more than the missing key that it was meant to be.
    detail = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    path = [str(part) for part in detail["loc"] if not str(part).startswith("function-")]
    where = ".".join(path)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {where!r}; {suggestion(path[-1], model_at(path).model_fields)}"
    message = complaint(detail)
    given = "" if detail["type"] in ("missing", "value_error") else f", got {detail['input']!r}"
    return f"{where}: {message}{given}" if where else f"{message}{given}"
