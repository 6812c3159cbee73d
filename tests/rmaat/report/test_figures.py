"""The labels of the training curves."""

from rmaat.report.figures import training_curves

ROWS = [{"step": str(n), "split": "train", "loss": "1", "accuracy": str(n / 10)} for n in range(10)]


def test_floors_that_lie_close_share_a_label() -> None:
    right = training_curves(ROWS, {"length": 0.21, "majority class": 0.2, "bag of words": 0.6}).axes[1]
    assert [text.get_text() for text in right.texts] == ["majority class,\nlength", "bag of words"]
