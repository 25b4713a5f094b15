"""The local app: a table, its forecast, questions about it and orders, in a browser on the same machine."""
