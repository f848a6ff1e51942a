"""The part of the page that tells what a run has read."""

import dataclasses

from vicreg_keras.data.card import make_card
from vicreg_keras.data.dataset import load_dataset
from vicreg_keras.evaluate.records import DataChangeRecord, RollbackRecord, to_json
from vicreg_keras.report.page import build_report
from vicreg_keras.settings import Settings
from vicreg_keras.training.build import make_schema


def test_what_was_read_is_told(make_run, tmp_path):
    run = make_run()
    dataset = dataclasses.replace(load_dataset("digits"), left_out=("3 .gif",))
    card = make_card(dataset, make_schema(Settings(), dataset))
    run.data_card.write_text(card.to_json())
    run.append_metrics(
        to_json(
            DataChangeRecord(
                dataset="digits",
                seed=0,
                step=7,
                changes=("1 is added ('a.png')",),
                fingerprint=card.fingerprint,
            )
        )
    )
    reason = "Received: loss=nan."
    rollback = RollbackRecord(
        dataset="digits", seed=0, step=9, learning_rate_factor=0.5, reason=reason
    )
    run.append_metrics(to_json(rollback))
    path = tmp_path / "report.html"
    build_report([run], path)
    text = path.read_text("utf-8")
    assert "1,294 examples" in text
    assert "359 examples, held out of the training split" in text
    assert "3 .gif" in text
    assert "from step 7 on with changed data, where 1 is added (" in text
    assert "went back to step 9, and on with 0.5 of the recipe&#39;s" in text
    assert reason in text
