"""A model on the Hugging Face Hub: fetched by its id, JSON and safetensors alone; pushed with a card about it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import fmcore
from fmcore.errors import FlowMismatchingError, ModelError

MODEL, WEIGHTS = "model.json", "weights-*.safetensors"
SAID = {  # of errors of huggingface_hub, by name
    "HFValidationError": "is neither a folder nor an id of the Hub, as 'user/name': check it.",
    "RepositoryNotFoundError": "is not on the Hub, or not for everybody: check the id, or log in with 'hf auth login'.",
    "RevisionNotFoundError": "has no such revision on the Hub: check it.",
}


class HubModel:
    """Base of a model that has ``info``, ``views`` and ``save(folder)``."""

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, device: str = "cpu", **kw: Any) -> Self:
        """The model in a folder, or of an id on the Hub, as "user/name"; ``revision`` is a commit, tag or branch. The
        rest goes to `huggingface_hub.snapshot_download`, as ``token``. Raises `ModelError`."""
        folder = Path(name) if Path(name).is_dir() else download(str(name), revision, **kw)
        try:
            return fmcore.load_model(folder, device)
        except ModelError as error:
            raise ModelError(str(error).replace(str(folder), str(name))) from None

    def push_to_hub(self, repo_id: str, *, model_card_kwargs: dict[str, Any] | None = None, **kw: Any) -> str:
        """Write model and card to a repository, made if there is none; returns the commit's address. ``kw`` is that of
        `huggingface_hub.ModelHubMixin`; ``model_card_kwargs`` may hold ``evaluation``, a file of ``python -m fmcore
        evaluate --json`` with the figures for the card, and ``license``. Raises `ModelError`."""
        mixed, card = _mixed(self), {"name": repo_id} | (model_card_kwargs or {})
        mixed.generate_model_card(**card)  # what is wrong with it comes before the network
        with _plain_errors(repo_id):  # nothing stays of a larger model that was there before
            return mixed.push_to_hub(repo_id, model_card_kwargs=card, **{"delete_patterns": WEIGHTS} | kw)

    def save_pretrained(self, folder: str | Path, **kw: Any) -> None:
        """``save``, and a card unless there is one; ``kw`` as of `push_to_hub`."""
        _mixed(self).save_pretrained(folder, **kw)


def download(repo_id: str, revision: str | None = None, **kw: Any) -> Path:
    """The folder of a model of the Hub, in huggingface_hub's cache, to be loaded from. Raises `ModelError`."""
    with _plain_errors(repo_id):
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=[MODEL, WEIGHTS], **kw))
    if not (folder / MODEL).is_file():
        raise ModelError(f"'{repo_id}' on the Hub holds no model ({MODEL} is missing): check the id.")
    return folder


def _mixed(model: HubModel) -> Any:
    from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin  # takes a fifth of the time that torch takes

    class OnHub(ModelHubMixin):
        def _save_pretrained(self, save_directory: Path) -> None:
            model.save(save_directory)

        def generate_model_card(self, *, evaluation: str | Path = "", license: str = "mit", name: str = "user/name"):
            try:
                found = json.loads(Path(evaluation).read_text(encoding="utf-8")) if evaluation else {"categories": {}}
                rows = [r | {"n": r["n_good"]} for r in found.get("categories", {"": found}).values()]
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                raise ModelError(f"'{evaluation}' holds no figures: give a file of 'evaluate --json'.") from None
            data = ModelCardData(license=license, library_name="flow-mismatching", tags=["anomaly-detection"])
            return ModelCard.from_template(data, Path(__file__).with_name("card.md"), model=model, name=name, rows=rows)

    return OnHub()


@contextmanager
def _plain_errors(repo_id: str):
    from huggingface_hub.errors import HTTPError

    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, FlowMismatchingError):
            raise
        code = getattr(getattr(error, "response", None), "status_code", None)
        why = "log in with 'hf auth login'" if code in (401, 403) else "check the network and try again"
        otherwise = f"cannot be had from the Hub, or put there ({code or type(error).__name__}): {why}."
        raise ModelError(f"'{repo_id}' {SAID.get(type(error).__name__, otherwise)}") from None
