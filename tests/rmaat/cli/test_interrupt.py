"""Ctrl-C before anything is recorded: one line and exit code 130, however deep a library wrapped it."""

import pytest

from rmaat.cli import app


@pytest.mark.parametrize("wrapped", [False, True])
def test_interrupt_is_one_line(
    wrapped: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compile_for_long(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            if wrapped:
                raise RuntimeError("preparing an object") from interrupt
            raise

    monkeypatch.setattr(app, "app", compile_for_long)
    with pytest.raises(SystemExit) as end:
        app.main(["simulate"])
    assert end.value.code == 130
    said = capsys.readouterr().err
    assert said.startswith("interrupted") and said.count("\n") == 1


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        app.main(["simulate"])
