"""Tables in: from whatever the user has to one grid."""

from demandcast.frames import examples
from demandcast.frames.check import Report, check
from demandcast.frames.future import extend
from demandcast.frames.read import read_panel
from demandcast.frames.source import open_table
from demandcast.frames.wide import from_wide

__all__ = ["Report", "check", "examples", "extend", "from_wide", "open_table", "read_panel"]
