"""Random numbers of forecasts, each a function of the seed, the series' key and the purpose of the draw."""
