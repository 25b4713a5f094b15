"""The fan chart draws what the forecast says, and asks for matplotlib by name."""

from __future__ import annotations

import builtins
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from demandcast.errors import DataError, MissingExtraError, ShapeError
from demandcast.forecast.forecast import Forecast
from demandcast.panel.panel import Panel
from demandcast.report.figures import fan_chart

FREQUENCIES = ["15min", "h", "D", "B", "W-FRI", "MS", "QE", "YS", "1"]


def lines(figure: Figure) -> dict[str, Any]:
    return {str(line.get_label()): line.get_ydata() for line in figure.axes[0].lines}


def test_the_lines_are_the_forecast_s_own(forecast: Forecast, panel: Panel) -> None:
    drawn = lines(fan_chart(forecast, "Zug", panel=panel))
    np.testing.assert_array_equal(drawn["median"], forecast.median[2])
    np.testing.assert_array_equal(drawn["mean"], forecast.mean[2])
    np.testing.assert_array_equal(drawn["history"], panel.history(2)[-24:])
    np.testing.assert_array_equal(drawn["held out"], panel.future_target(6)[2])


def test_bands_come_from_levels_that_mirror_each_other(forecast: Forecast) -> None:
    figure = fan_chart(forecast, "Bern")
    assert len(figure.axes[0].collections) == 4
    _, high = figure.axes[0].collections[0].get_datalim(figure.axes[0].transData).get_points()
    assert high[1] == pytest.approx(forecast.quantile(0.9)[0].max(), rel=1e-6)


def test_without_history_or_outcome_neither_is_drawn(forecast: Forecast) -> None:
    assert set(lines(fan_chart(forecast, "Bern"))) == {"median", "mean"}


def test_words_are_the_user_s_own(forecast: Forecast, panel: Panel) -> None:
    key = panel.keys.row(1)
    ax = fan_chart(forecast, key, panel=panel).axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("month", "guests")
    assert ax.get_title() == key[0].replace("$", r"\$") + " (deepar)"


@pytest.mark.parametrize("freq", FREQUENCIES)
def test_every_frequency_can_be_drawn(forecast: Forecast, panel: Panel, freq: str) -> None:
    schema = replace(panel.schema, freq=freq)
    figure = fan_chart(
        replace(forecast, schema=schema, time_zone="Europe/Zurich"),
        "Zug",
        panel=replace(panel, schema=schema),
    )
    figure.savefig(io.BytesIO(), format="png")


def test_a_lone_step_is_seen(forecast: Forecast) -> None:
    one = replace(
        forecast, quantiles=forecast.quantiles[:, :1], mean=forecast.mean[:, :1], samples=None
    )
    fan_chart(one, "Bern").savefig(io.BytesIO(), format="png")


def test_a_median_that_is_not_known_is_not_drawn(forecast: Forecast) -> None:
    high = replace(
        forecast, quantiles=forecast.quantiles[..., 6:], levels=(0.7, 0.8, 0.9), samples=None
    )
    assert set(lines(fan_chart(high, "Bern"))) == {"mean"}


def test_draws_where_it_is_told(forecast: Forecast) -> None:
    figure = Figure()
    left, _ = figure.subplots(1, 2)
    assert fan_chart(forecast, "Bern", ax=left) is figure


def test_what_cannot_be_drawn_is_said(forecast: Forecast) -> None:
    with pytest.raises(DataError, match="no series 'Basel'"):
        fan_chart(forecast, "Basel")
    with pytest.raises(ShapeError, match="hand in its row"):
        fan_chart(forecast, "Bern", actual=np.zeros((4, 6), np.float32))


def test_without_matplotlib_the_command_is_told(
    forecast: Forecast, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def blocked(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(MissingExtraError, match=r'pip install "demandcast\[plot\]"'):
        fan_chart(forecast, "Bern")


def test_a_notebook_shows_the_figure_as_a_picture(forecast: Forecast) -> None:
    """IPython asks an object for `_repr_png_`; a figure that pyplot does not know has none."""
    from IPython.core.formatters import DisplayFormatter

    shown, _ = DisplayFormatter().format(forecast.plot())
    assert shown["image/png"].startswith(b"\x89PNG")


def test_bands_have_swatches_of_their_own(forecast: Forecast) -> None:
    legend = forecast.plot().axes[0].get_legend()
    shades = [
        handle.get_alpha()
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
        if "band" in text.get_text()
    ]
    assert len(shades) == len(set(shades)) == 2
    assert shades[0] < shades[1]
