"""Every series on one grid."""

from demandcast.panel.panel import Note, Panel

__all__ = ["Note", "Panel"]
