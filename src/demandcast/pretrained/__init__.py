"""A network that learned from synthetic demand what to make of any history; its weights ship here."""
