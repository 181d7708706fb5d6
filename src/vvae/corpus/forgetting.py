"""A person taken out again: of chats that were brought in, and of every file of a run.

From `dialogues.parquet` the person's turns, reactions, presence and name are removed; what was made
from it is deleted, for it may hold the person in a form that cannot be undone (a count, a
quotation, a weight). The next `vvae run` makes it anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from vvae.core.dialogue import Dialogue, Message, Turn
from vvae.core.errors import DataError, choose_from
from vvae.core.files import write_json
from vvae.core.yaml import read_yaml
from vvae.corpus.forgotten import FORGOTTEN, Forgotten
from vvae.corpus.importing import DIALOGUES, SUMMARY, mapping_path
from vvae.corpus.privacy.names import Pseudonyms, name_replacer
from vvae.corpus.tables import iterate_dialogues, write_dialogues

__all__ = ["Removed", "forget", "without"]

NOBODY = "<name>"
STAYS = {"config.yaml", DIALOGUES, SUMMARY, FORGOTTEN, ".stages"}
"""What of a run's folder stays; of the marks of stages, that of the dialogues."""


@dataclass
class Removed:
    """A count of what was removed with a person, and a list of the files that were deleted."""

    turns: int = 0
    dialogues: int = 0
    """Left with fewer than two people."""
    retrain: list[str] = field(default_factory=list)
    """Adapters that are deleted: they had learnt from the person."""
    deleted: list[str] = field(default_factory=list)
    """Everything else that is deleted."""
    untouched: Path | None = None
    """The chats that a run was made from, where they are no folder of `vvae import` or not there:
    the person is still in them."""


def forget(name: str, folder: Path) -> dict[Path, Removed]:
    """Remove a person from a folder of chats, or from a run and the chats it was made from; return
    what was removed from each folder.

    Args:
        name: as in the chats (a pseudonym, where there is one), or the real name.

    Raises:
        DataError: the folder is neither, or the person is not there.
    """
    folders, untouched = [folder], None
    if (folder / "config.yaml").is_file():
        source = _source_of(folder / "config.yaml")
        if source and (source / SUMMARY).is_file():
            folders = [source, folder]
        elif source and source != Path("byu") and folder not in source.parents:
            untouched = source
    elif not (folder / SUMMARY).is_file():
        fix = "give a folder of 'vvae import' or of 'vvae run'"
        raise DataError("no chats and no run here", where=str(folder), fix=fix)
    mapping = {
        real: pseudonym
        for path in folders
        for real, pseudonym in Pseudonyms.read(mapping_path(path)).items()
    }
    name_in_chats = mapping.get(name, name)
    real = {original for original, pseudonym in mapping.items() if pseudonym == name_in_chats}
    removed = {
        path: removal
        for path in folders
        if (removal := _forget(name_in_chats, real, path)) is not None
    }
    if not removed:
        known = {who for path in folders for who in _speakers(path)}  # no real names in an error
        fix = choose_from(name, sorted(known), shown=5)
        raise DataError(f"{name!r} is not here", where=str(folder), fix=fix)
    if folder in removed:
        removed[folder].untouched = untouched
    return removed


def _speakers(folder: Path) -> set[str]:
    """Everybody who writes in the dialogues of a folder, where it has any."""
    path = folder / DIALOGUES
    dialogues = iterate_dialogues(path) if path.is_file() else ()
    return {name for dialogue in dialogues for name in dialogue.speakers}


def _source_of(config: Path) -> Path | None:
    """Where a run's chats came from. Read here without the config's own model, which lies above
    this package.
    """
    data = read_yaml(config, "the config of a run")
    source = data.get("data") if isinstance(data, dict) else None
    path = source.get("path") if isinstance(source, dict) else None
    return Path(path) if isinstance(path, str) else None


def _forget(name: str, real: set[str], folder: Path) -> Removed | None:
    removed = Removed()
    path = folder / DIALOGUES
    if not path.is_file():
        return None
    forgotten = Forgotten(folder)
    if name not in forgotten and name not in _speakers(folder):
        return None
    forgotten.add(name, *real)
    write_dialogues(path, _without(name, path, removed))
    if (folder / "config.yaml").is_file():
        _delete_derived(folder, removed)
    _tell(folder, name, removed)
    mapping = mapping_path(folder)
    if mapping.exists():
        remaining = {
            key: value
            for key, value in Pseudonyms.read(mapping).items()
            if value != name and key != name
        }
        Pseudonyms(remaining).save(mapping)
    return removed


def _without(name: str, path: Path, removed: Removed) -> Iterator[Dialogue]:
    for dialogue in iterate_dialogues(path):
        remaining = without(name, dialogue)
        removed.turns += len(dialogue.turns) - len(remaining.turns)
        if len(remaining.speakers) < 2:
            removed.dialogues += 1
        else:
            yield remaining


def without(name: str, dialogue: Dialogue) -> Dialogue:
    """Return a dialogue without a person: no turn, no reaction, no presence, and no mention in the
    words of others.
    """
    in_text = name_replacer({name: NOBODY})

    def cleaned(message: Message) -> Message:
        reactions = (
            None
            if message.reactions is None
            else tuple(r for r in message.reactions if r.by != name)
        )
        present = (
            None if message.present is None else tuple(p for p in message.present if p != name)
        )
        return replace(message, text=in_text(message.text)[0], reactions=reactions, present=present)

    turns = (
        Turn(t.id, t.speaker, tuple(map(cleaned, t.messages)))
        for t in dialogue.turns
        if t.speaker != name
    )
    return Dialogue(dialogue.id, tuple(turns), dialogue.meta)


def _delete_derived(run: Path, removed: Removed) -> None:
    removed.retrain += sorted(path.name for path in run.glob("adapters/*") if path.is_dir())
    for path in sorted(run.iterdir()):
        if path.name not in STAYS:
            removed.deleted.append(path.name)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for marker in run.glob(".stages/*.json"):
        if marker.stem != "dialogues":
            marker.unlink()


def _tell(folder: Path, name: str, removed: Removed) -> None:
    """Takes the person out of the summary of the import."""
    path = folder / SUMMARY
    try:
        summary = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return
    summary.get("speakers", {}).pop(name, None)
    if name in summary.get("learn", []):
        summary["learn"].remove(name)
    summary["forgotten_turns"] = summary.get("forgotten_turns", 0) + removed.turns
    write_json(path, summary)
