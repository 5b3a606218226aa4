"""What the schemas of records, boards and figures share; strangers may have written what they read."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails

from ddbench.errors import printable
from ddbench.files import LONGEST_NAME, is_name


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
