"""A section of a configuration, and the kinds of numbers that sections are made of."""

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moganet.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Fraction = Annotated[float, Field(ge=0, le=1)]
Width = Annotated[int, Field(ge=1, le=65_536)]


def describe_error(error: ValidationError) -> str:
    """Give the first of pydantic's findings in one line."""
    first = error.errors()[0]
    return describe_finding(first, ".".join(map(str, first["loc"])))


def describe_finding(finding: "ErrorDetails", where: str, hint: str = "") -> str:
    """Give one of pydantic's findings in one line. hint: what may have been meant."""
    said = finding["msg"].removeprefix("Value error, ")  # of our own validators, whose sentence says it all
    return f"{where}: {f'{said}; {hint}' if hint else said} (given: {repr(finding['input'])[:200]})"


def told(default: Any, meaning: str, unit: str = "") -> Any:
    """Give a setting its default, its meaning in a sentence, and its unit; `moganet settings` shows all three."""
    return Field(default, description=meaning, json_schema_extra={"unit": unit} if unit else None)


class Settings(BaseModel):
    """A section of a configuration: frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    def changed(self, **values: Any) -> Self:
        """Give the section with other values, validated. Raises ConfigError for one that can't be."""
        try:
            return type(self).model_validate({**dict(self), **values})
        except ValidationError as error:
            raise ConfigError(f"{type(self).__name__}: {describe_error(error)}") from None
