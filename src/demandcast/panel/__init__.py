"""The `Panel`: all series of a table on one time grid."""

from demandcast.panel.panel import Note, Panel

__all__ = ["Note", "Panel"]
