"""A run that collapses: a method with a far too large weight from the start, on the bundled teacher."""

import pytest

from distill_core.config.run_config import RunConfig
from distill_core.runs.diagnostics import alarms, collapsed, constant_score
from distill_core.runs.events import Measured
from distill_core.training.session import prepare


@pytest.mark.usefixtures("shared_bundle", "few_examples")
@pytest.mark.slow
def test_a_collapse_is_detected_while_agreement_rises() -> None:
    config = RunConfig(
        method="ad_kd", method_weight=1000.0, steps=24, batch_size=8, evaluate_every=12, source="bundled",
        device="cpu", max_length=32,
    )  # fmt: skip
    series: dict[str, list[tuple[int, float]]] = {}
    for event in prepare(config).events():
        if isinstance(event, Measured):
            for name, value in event.values.items():
                series.setdefault(name, []).append((event.step, value))
    constant = constant_score(series, "accuracy")
    assert constant == 0.5
    assert series["teacher/accuracy"][0][1] > 0.7  # it is not the teacher's fault
    for name in ("agreement/cosine", "agreement/spearman"):
        assert series[name][-1][1] > series[name][0][1] + 0.02
    assert series["agreement/signed_cosine"][-1][1] < 0.1  # which is why it stands beside them
    assert collapsed(config, series)
    assert any("such agreement says little" in words for words in alarms(config, series))
