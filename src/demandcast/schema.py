"""Which column is key, time, target or covariate."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from demandcast.errors import SchemaError


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The user's names for what a table holds.

    Raises:
        SchemaError: A column has two roles.
    """

    key: tuple[str, ...]
    time: str
    target: str
    freq: str
    known: tuple[str, ...] = ()  # covariates known ahead
    past: tuple[str, ...] = ()  # covariates known to the cutoff only
    static: tuple[str, ...] = ()
    available: str | None = None  # false where the item could not be bought
    time_parts: tuple[
        str, ...
    ] = ()  # the columns that make the time together, where it has several

    def __post_init__(self) -> None:
        roles: dict[str, str] = {}  # column -> its role
        for role in ("key", "time", "target", "known", "past", "static", "available", "time_parts"):
            value = getattr(self, role)
            if role in ("key", "known", "past", "static", "time_parts"):
                value = (value,) if isinstance(value, str) else tuple(value)
                object.__setattr__(self, role, value)
            for column in value if isinstance(value, tuple) else (value,):
                if column is None:
                    continue
                if column in roles:
                    raise SchemaError(
                        f"column {column!r} is named as {roles[column]} and as {role}; "
                        "give each column one role"
                    )
                roles[column] = role

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        """Create the schema from the output of `to_dict`; lists are accepted for tuples.

        Raises:
            SchemaError: A role is unknown or absent, or a column has two.
        """
        known = [f.name for f in fields(cls)]
        if unknown := [name for name in values if name not in known]:
            raise SchemaError(f"a schema has no {unknown[0]!r}; it has {', '.join(known)}")
        if absent := [name for name in ("key", "time", "target", "freq") if name not in values]:
            raise SchemaError(
                f"the schema lacks {absent[0]!r}; it wants key, time, target and freq"
            )
        return cls(**values)
