"""The personas kept in a run folder as character cards, and cards of a run's speakers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from vvae.core.dialogue import BURST
from vvae.core.errors import ConfigError, UserError
from vvae.core.files import digest, write_bytes
from vvae.core.text import is_unspaced
from vvae.inference.template import START
from vvae.latent.profile import Profile
from vvae.latent.readers.lexical import hobby_aliases
from vvae.latent.space import LatentSpace
from vvae.latent.steering import Steering, check_steering, steering_to_text
from vvae.pipeline.run import Run
from vvae.serving.cards.card import Card, Spec, read_card
from vvae.serving.chat import open_session
from vvae.serving.engines import why_unread

__all__ = [
    "OPENERS",
    "Saved",
    "adopt_card",
    "card_of",
    "delete_persona",
    "folder_stamp",
    "import_card",
    "renamed",
    "save_persona",
    "saved_personas",
]

FOLDER = "personas"
LONGEST_NAME = 100
MOST_PERSONAS = 1_000
OPENERS = {
    False: ("hey, how was your day?", "what are you up to this weekend?", "i'm so tired today"),
    True: ("在干嘛呢", "周末有什么打算", "今天好累啊"),
}
"""What a card's examples answer, and what the page offers to begin with, by whether one writes
without spaces; made up: a card quotes nobody.
"""
SAMPLE_TEMPERATURE, SAMPLE_TOP_P = 0.8, 0.95


def persona_name(name: str) -> str:
    """Return a name as a persona has it: composed, without space around it.

    Raises:
        ConfigError: it cannot be one; an "@" parts a model's name from a persona's.
    """
    name = unicodedata.normalize("NFC", name).strip()
    fits = 0 < len(name) <= LONGEST_NAME and name.isprintable()
    if not fits or "@" in name or name in (".", ".."):
        raise ConfigError(
            f"a persona's name is 1 to {LONGEST_NAME} printable characters without '@'",
            where="name",
            fix="give it another name",
        )
    return name


def persona_path(run: Run, name: str) -> Path:
    """Return the path where a persona is kept.

    Raises:
        ConfigError: the name cannot be one.
    """
    name = persona_name(name)
    stem = re.sub(r"[^\w\- ]", "_", name).encode("utf-8")[:120].decode("utf-8", "ignore")
    if stem != name:
        stem += "-" + blake2b(name.encode("utf-8"), digest_size=4).hexdigest()
    return run.path(f"{FOLDER}/{stem}.json")


class Saved(NamedTuple):
    """The personas kept in a run."""

    cards: Mapping[str, Card]
    """By name, in the order of names."""
    broken: Mapping[str, str]
    """File name -> why it is left out, of the cards that cannot be used."""


def saved_personas(run: Run) -> Saved:
    """Return the personas kept in the run. A card that is none any more, or that asks for what this
    space has not, takes no other with it.
    """
    cards: dict[str, Card] = {}
    broken: dict[str, str] = {}
    for path in sorted(run.path(FOLDER).glob("*.json")):
        try:
            card, image = read_card(path), path.with_suffix(".png")
            card.steering(run.space)
            cards[card.name] = replace(card, image=image.read_bytes()) if image.is_file() else card
        except UserError as error:
            broken[path.name] = error.what
    return Saved(dict(sorted(cards.items())), broken)


def folder_stamp(run: Run) -> int:
    """Return a number that changes when a persona is kept in the run or deleted."""
    folder = run.path(FOLDER)
    return folder.stat().st_mtime_ns if folder.is_dir() else 0


def _keep(run: Run, card: Card) -> Path:
    path = persona_path(run, card.name)
    if not path.exists() and len(saved_personas(run).cards) >= MOST_PERSONAS:
        raise ConfigError(
            f"{MOST_PERSONAS:,} personas are kept already", where="name", fix="delete one"
        )
    if card.name in run.profiles or card.name in {v.name for v in run.variants}:
        what = "a speaker" if card.name in run.profiles else "an adapter"
        raise ConfigError(
            f"{card.name!r} is {what} of this run",
            where="name",
            fix="give the persona another name",
        )
    if card.image:
        write_bytes(path.with_suffix(".png"), card.image)
    card.write(path)
    return path


def import_card(
    run: Run, path: Path, name: str | None = None, *, encoder_endpoint: str | None = None
) -> tuple[Path, Card]:
    """Write a card into the run, and return where it is and the card as it is kept.

    One that is not of this project is read by the run's encoder, and keeps its nulls.

    Args:
        name: in place of the card's own.
        encoder_endpoint: the URL to which the run's encoder may send the card's text.

    Raises:
        DataError: there is no card in the file.
        ConfigError: the name is a speaker's or cannot be one, the card asks for what this space has
            not, or the encoder would send it to a machine that was not allowed.
    """
    card = renamed(read_card(path), name)
    if not card.own and (refused := why_unread(run, encoder_endpoint)):
        raise refused
    slots = None if card.own else card.read(run.encoder, run.space)
    return adopt_card(run, card, slots)


def renamed(card: Card, name: str | None) -> Card:
    """Return a card under another name, or its own, as a persona has it.

    Raises:
        ConfigError: it cannot be a persona's name.
    """
    name = persona_name(card.name if name is None else name)
    if name == card.name:
        return card
    return replace(card, json={**card.json, "data": {**card.data, "name": name}})


def adopt_card(run: Run, card: Card, slots: Mapping[str, Any] | None) -> tuple[Path, Card]:
    """Write a card into the run, with what was read in it where it is not of this project; return
    where it is and the card as it is kept.

    Raises:
        ConfigError: the name is a speaker's, or the card asks for what this space has not.
    """
    if slots is not None:
        card = card.with_own({"slots": dict(slots), **_provenance(run)})
    card.steering(run.space)
    return _keep(run, card), card


def save_persona(run: Run, name: str, profile: Profile, steering: Steering) -> Card:
    """Write a persona as it was set by hand into the run: a profile's values, and the knobs over
    them; return its card.

    Raises:
        ConfigError: the name is a speaker's, or the knobs are not of this space.
    """
    check_steering(steering, run.space)
    name = persona_name(name)
    slots = {slot: _slot(ranked) for slot, ranked in profile.values.items()}
    for slot, knob in steering.knobs.items():
        if knob.mode == "fixed" and knob.value is not None:
            slots[slot] = {"value": knob.value, "source": "given", "confidence": 1.0}
        elif knob.mode != "auto":
            slots.pop(slot, None)
    text = steering_to_text(replace(steering, speaker=None, conversation=None))
    own = {"slots": slots, "habits": _habits(profile), "steering": text, **_provenance(run)}
    card = _card_in_words(
        name,
        Profile(name, profile.replies, {}),
        {n: s["value"] for n, s in slots.items()},
        run.space,
    )
    card = card.with_own(own)
    _keep(run, card)
    return card


def delete_persona(run: Run, name: str) -> bool:
    """Delete a kept persona; return whether there was one."""
    path = persona_path(run, name)
    there = path.is_file()
    for file in (path, path.with_suffix(".png")):
        file.unlink(missing_ok=True)
    return there


def card_of(
    run: Run, name: str, *, spec: Spec | None = None, samples: int = 4, variant: str = "SP+FT"
) -> Card:
    """Return the card of a kept persona, as it is, or of a speaker.

    Args:
        spec: None for a kept card's own, and V3 for a speaker's.
        samples: replies written by the adapter, the first of them the greeting; 0 loads no model.

    Raises:
        ConfigError: nobody is called so.
        DataError: samples are asked for and the adapter is not trained.
    """
    saved = saved_personas(run).cards
    if name in saved:
        return saved[name].as_spec(spec) if spec else saved[name]
    profile = run.profile(name)
    values = {dimension: slot.value for dimension, slot in profile.persona(_closest(profile))}
    greeting, examples = _samples(run, profile, variant, samples) if samples else ("", "")
    ranked = {**profile.by_listener.get(_closest(profile) or "", {}), **profile.values}
    own = {
        "slots": {dimension: _slot(ranking) for dimension, ranking in ranked.items()},
        "habits": _habits(profile),
        **_provenance(run, variant),
    }
    card = _card_in_words(
        profile.speaker,
        profile,
        values,
        run.space,
        greeting,
        examples,
        _share(run, profile.speaker),
    )
    return card.with_own(own).as_spec(spec or "v3")


def _closest(profile: Profile) -> str | None:
    """The listener to whom most was said."""
    support = {
        name: sum(r.support for ranking in v.values() for r in ranking)
        for name, v in profile.by_listener.items()
    }
    return max(sorted(support), key=lambda name: support[name], default=None)


def _slot(ranked: Sequence[Any]) -> dict[str, Any]:
    total = sum(rank.support for rank in ranked)
    return {
        "value": ranked[0].value,
        "source": "observed",
        "confidence": round(ranked[0].support / total, 4),
        "dist": {rank.value: rank.support for rank in ranked},
    }


def _habits(profile: Profile) -> dict[str, dict[str, int]]:
    return {name: dict(ranking) for name, ranking in profile.habits.items()}


def _provenance(run: Run, variant: str | None = None) -> dict[str, Any]:
    adapter = run.path(f"adapters/{variant}/adapter_model.safetensors") if variant else None
    return {
        "space": run.space.name,
        "prior_id": digest(run.path("prior.json")),
        "adapter_sha": digest(adapter) if adapter and adapter.is_file() else None,
        "corpus_hash": run.prior.corpus,
    }


def _share(run: Run, speaker: str) -> float:
    """The share of turns in the speaker's dialogues that are the speaker's."""
    own = [d for d in run.dialogues.values() if speaker in d.speakers]
    turns = [turn.speaker == speaker for dialogue in own for turn in dialogue.turns]
    return round(sum(turns) / len(turns), 2) if turns else 0.5


def _samples(run: Run, profile: Profile, variant: str, number: int) -> tuple[str, str]:
    """A greeting and example exchanges, written by the adapter."""
    session = open_session(
        run,
        profile.speaker,
        variant,
        Steering(),
        temperature=SAMPLE_TEMPERATURE,
        top_p=SAMPLE_TOP_P,
        seed=run.config.seed,
    )
    own = [pair.response for pair in run.pairs if pair.speaker == profile.speaker][:200]
    openers = OPENERS[2 * sum(map(is_unspaced, own)) > len(own)]
    exchanges = [
        (prompt, replace(session, _turns=[]).reply(prompt).messages)
        for prompt in (START, *openers)[:number]
    ]
    examples = "".join(
        f"<START>\n{{{{user}}}}: {prompt}\n"
        + "".join(f"{{{{char}}}}: {_plain(line)}\n" for line in messages)
        for prompt, messages in exchanges[1:]
        if messages
    )
    return BURST.join(map(_plain, exchanges[0][1])), examples


def _plain(text: str) -> str:
    """Text in which no client finds a macro."""
    return text.replace("{{", "{ {")


def _card_in_words(
    name: str,
    profile: Profile,
    values: Mapping[str, str],
    space: LatentSpace,
    greeting: str = "",
    examples: str = "",
    talkativeness: float = 0.5,
) -> Card:
    """A card in words: what each client shows its own model, which knows nothing of z."""
    read_by = {d.reader: values[d.name] for d in space.dimensions if d.name in values}
    plain = {n: _plain(v) for n, v in values.items()}
    closed = [d for d in space.dimensions if d.labels is not None and d.name in plain]
    style = [
        f"{d.name}: {plain[d.name]}"
        for d in closed
        if d.scope == "speaker" and d.name != "personality"  # a field of its own in a card
    ]
    style += (
        [f'now and then says "{_plain(read_by["catchphrase"])}"']
        if "catchphrase" in read_by
        else []
    )
    style += [f"sometimes uses {_plain(read_by['emoji'])}"] if "emoji" in read_by else []
    line = f"How {{{{char}}}} writes: {'; '.join(style)}." if style else ""
    hobby = read_by.get("hobby")
    likes = f"{{{{char}}}} likes {_plain(hobby)}." if hobby else ""
    situation = [f"{d.name}: {plain[d.name]}" for d in closed if d.scope != "speaker"]
    nickname = read_by.get("nickname")
    data: dict[str, Any] = {
        "name": name,
        "description": " ".join(filter(None, (likes, line))),
        "personality": plain.get("personality", ""),
        "scenario": "; ".join(situation),
        "first_mes": greeting,
        "mes_example": examples,
        "creator_notes": f"Made with vvae from {profile.replies:,} replies."
        if profile.replies
        else "Made with vvae.",
        "system_prompt": f"{{{{char}}}} calls {{{{user}}}} {_plain(nickname)}." if nickname else "",
        "post_history_instructions": "",
        "alternate_greetings": [],
        "tags": ["vvae", *([hobby] if hobby else [])],
        "creator": "",
        "character_version": "1",
        "extensions": {"talkativeness": str(talkativeness)},
        "group_only_greetings": [],
    }
    if line:
        data["extensions"]["depth_prompt"] = {"prompt": line, "depth": 4, "role": "system"}
    if hobby:
        entry = {
            "keys": list(dict.fromkeys(hobby_aliases(hobby))),
            "content": likes,
            "extensions": {},
            "enabled": True,
            "insertion_order": 0,
            "case_sensitive": False,
            "use_regex": False,
            "constant": False,
            "name": hobby,
        }
        data["character_book"] = {"name": name, "extensions": {}, "entries": [entry]}
    return Card({"spec": "chara_card_v3", "spec_version": "3.0", "data": data})
