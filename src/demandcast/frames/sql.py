"""Rows of a database: what a query in SQL returns, read by Polars through ADBC."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from demandcast.errors import ConfigError, FileError, MissingExtraError, way

IN_EXTRA = ("sqlite", "postgresql")  # drivers that the extra installs
EXAMPLE = way(sql="select item, date, units from sales", connect="sqlite:///sales.db")


@dataclass(frozen=True)
class Query:
    """A query and its database; the rows are fetched once, at the first access.

    Attributes:
        sql: The query.
        connect: Address of the database, "sqlite:///sales.db" or "postgresql://user:password@host/database".
            It is never printed or saved with its credentials.
    """

    sql: str
    connect: str = field(repr=False)

    def __str__(self) -> str:
        return f"the query at {self.place}"

    @property
    def place(self) -> str:
        """The address without its credentials."""
        return without_credentials(self.connect)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Fetch the rows.

        Raises:
            MissingExtraError: The driver of the database is not installed.
            FileError: The database cannot be reached, or refuses the query.
        """
        driver = self.connect.partition(":")[0].lower()
        if driver == "sqlite":
            self._check_file()
        try:
            return pl.read_database_uri(self.sql, self.connect, engine="adbc")
        except ImportError:
            package = "'demandcast[sql]'" if driver in IN_EXTRA else f"adbc-driver-{driver}"
            raise MissingExtraError(
                f"reading {self.place} needs a driver that is not installed: pip install {package}"
            ) from None
        except Exception as error:  # each driver has its own kinds; the cause may hold the password
            raise FileError(
                f"{self} cannot be read ({self._without_secrets(error)}); check the address and the query "
                f"{self.sql!r}"
            ) from None

    def _check_file(self) -> None:
        """Refuse a SQLite file that is not there: the driver would make an empty one."""
        path = Path(re.sub("^sqlite:/{0,3}", "", self.connect))
        if not path.is_file():
            raise FileError(
                f"no database at {path}, seen from {Path.cwd()}; write four slashes before an absolute path, "
                "and for a file here",
                option="connect",
                ways=[way(connect="sqlite:///sales.db")],
            )

    def _without_secrets(self, error: Exception) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        user = re.match(r"[^:]*:/*(.*)@", self.connect)
        password = user[1].partition(":")[2] if user else ""
        options = self.connect.partition("?")[2]
        for secret in (self.connect, user[1] if user else "", password, unquote(password), options):
            text = text.replace(secret, "***") if secret else text
        return text


def without_credentials(url: str) -> str:
    """Return an address with *** in place of user, password and options."""
    return re.sub(r"[?#].*", "?***", re.sub(r"(://).*@", r"\1***@", url))


def as_source(source: Any, sql: str | None, connect: str | None) -> Any:
    """Return the source, or the query given instead of one.

    Raises:
        ConfigError: Both are given, none is, or half of a query.
    """
    has_table = source is not None and not (isinstance(source, str) and source == "")
    if sql is None and connect is None:
        if source is None:
            raise ConfigError("no table is given; give a path or a frame, or", ways=[EXAMPLE])
        return source
    if has_table:
        raise ConfigError("a table and a query are given; leave one of the two out", option="sql")
    if not sql or not connect:
        absent = "sql" if connect else "connect"
        raise ConfigError(
            f"{absent} is not given; a query needs both, as in", option=absent, ways=[EXAMPLE]
        )
    if not re.match(r"[A-Za-z][\w+.-]*:/", connect):
        raise ConfigError(
            "connect is no address of a database; write it as in", option="connect", ways=[EXAMPLE]
        )
    return Query(sql, connect)
