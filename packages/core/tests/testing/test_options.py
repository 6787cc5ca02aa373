"""The contract of shared options fails on an application that lacks one, words it otherwise or has another default."""

from pathlib import Path
from typing import Annotated, ClassVar

import pytest
import typer

from polyscale.commands import types as t
from polyscale.testing.apps.options import OptionContract


def application(precision: str = "fp32", **changed: object) -> typer.Typer:
    """An application with all shared options; `changed` takes the annotation of some options, None leaves it out.

    `precision` is the default of eval's option.
    """

    def predict(
        out: t.PredictionsOut = None,
        csv: t.Csv = None,
        as_json: t.JsonLines = False,
        sort: t.Sort = "none",
        limit: t.Limit = None,
        recursive: t.Recursive = False,
        device: t.Device = "auto",
        precision: t.Precision = "fp32",
        batch_size: t.BatchSize = 8,
        workers: t.Workers = 2,
    ) -> None: ...

    def evaluate(
        device: t.Device = "auto",
        precision: t.Precision = precision,
        batch_size: t.BatchSize = 8,
        workers: t.Workers = 2,
        out: t.ResultsOut = None,
        as_json: t.AsJson = False,
    ) -> None: ...

    def data(path: t.DataArgument = "synthetic", as_json: t.AsJson = False) -> None: ...

    def silent(path: t.DataArgument = "synthetic") -> None: ...

    for name, annotation in changed.items():
        evaluate.__annotations__[name] = annotation
    app, group = typer.Typer(), typer.Typer()
    app.command()(predict)
    app.command(name="eval")(evaluate)
    group.command()(data)
    if "silent" in changed:
        group.command()(silent)
        del evaluate.__annotations__["silent"]
    app.add_typer(group, name="data")
    return app


class Contract(OptionContract):
    app: ClassVar[str] = "made-up"


def check(monkeypatch: pytest.MonkeyPatch, app: typer.Typer, **attributes: object) -> None:
    monkeypatch.setattr("polyscale.testing.apps.options.application", lambda _: app)
    contract = type("Own", (Contract,), attributes)()
    contract.test_shared_options_have_the_same_words_and_defaults()


def test_an_application_with_all_of_them_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, application())


def test_what_is_missing_or_worded_otherwise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="data silent: --json is missing"):
        check(monkeypatch, application(silent=None))
    other = Annotated[int, typer.Option("--threads", help="Threads that read ahead.")]
    with pytest.raises(AssertionError, match="eval: --workers is missing"):
        check(monkeypatch, application(workers=other))
    folder = Annotated[Path | None, typer.Option("--out", help="Somewhere.")]
    with pytest.raises(AssertionError, match=r"eval: --out says 'Somewhere\.'"):
        check(monkeypatch, application(out=folder))


def test_what_an_application_says_of_itself_must_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="predict: --sort is there"):
        check(monkeypatch, application(), lacking={"predict --sort": "a reason"})
    with pytest.raises(AssertionError, match="eval: --precision is 'auto' by default"):
        check(monkeypatch, application("auto"))
    with pytest.raises(AssertionError, match="eval --sort"):
        check(monkeypatch, application(), lacking={"eval --sort": "a reason"})
