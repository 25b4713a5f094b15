"""Random numbers of forecasts: each a function of a seed, a series' key and what is drawn."""
