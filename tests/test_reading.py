"""The options of `read_panel` are stated once: keywords, an object and the commands take the same."""

from __future__ import annotations

import inspect
from dataclasses import fields

import polars as pl
import pytest

import demandcast as dc
from demandcast.cli.options import LEFT_ALONE, TABLE_OPTIONS
from demandcast.errors import ConfigError
from demandcast.reading import NamedColumns, Reading

TABLE = pl.DataFrame(
    {"item": ["a"] * 3, "date": ["2024-01-01", "2024-01-02", "2024-01-04"], "units": [1, -1, 2]}
)


def test_options_are_keywords_or_one_object_of_which_a_keyword_overrides_a_field() -> None:
    zero = Reading(gaps="zero", negative="zero")
    assert dc.read_panel(TABLE, gaps="zero", negative="zero").target.tolist() == [1, 0, 0, 2]
    assert dc.read_panel(TABLE, reading=zero).target.tolist() == [1, 0, 0, 2]
    assert dc.read_panel(TABLE, reading=zero, negative="keep").target.tolist() == [1, -1, 0, 2]


def test_an_option_that_does_not_exist_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no option 'gap'; did you mean 'gaps'") as caught:
        dc.read_panel(TABLE, gap="zero")
    assert caught.value.option == "gap"


def test_commands_have_the_same_options_and_defaults() -> None:
    named = [option.name for kind in (NamedColumns, Reading) for option in fields(kind)]
    assert {*TABLE_OPTIONS} == {"data", "future", *named}
    assert {*LEFT_ALONE} == {*TABLE_OPTIONS} - {"data", "sql", "connect"}
    assert all(LEFT_ALONE[o.name] == o.default for o in fields(Reading) if o.name in LEFT_ALONE)
    columns = inspect.signature(dc.read_panel).parameters
    assert [*columns] == [
        "source",
        *(o.name for o in fields(NamedColumns)),
        "future",
        "reading",
        "options",
    ]


def test_every_option_is_documented_and_passwords_are_not_shown() -> None:
    documented = inspect.getdoc(Reading) or ""
    assert all(f"\n    {option.name}: " in documented for option in fields(Reading))
    assert "secret" not in repr(Reading(sql="select 1", connect="postgresql://me:secret@db/x"))
