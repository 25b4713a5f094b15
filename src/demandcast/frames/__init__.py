"""Tables in: from whatever the user has to one grid."""

from demandcast.frames.source import open_table

__all__ = ["open_table"]
