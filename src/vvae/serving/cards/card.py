"""Character cards, V2 and V3: the personas that SillyTavern and others exchange, as JSON or inside
a PNG.

A card is kept as the JSON it was read from, so that what this project does not know is never lost.
What belongs to it stands in ``data.extensions.vvae``::

    {"schema": 1,
     "slots": {"tone": {"value": "playful", "source": "observed", "dist": {"playful": 12}}},
     "steering": "tone=playful", "prior_id": ..., "adapter_sha": ..., "corpus_hash": ...}

https://github.com/malfoyslastname/character-card-spec-v2,
https://github.com/kwaroran/character-card-spec-v3
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vvae.core.dialogue import Pair
from vvae.core.errors import DataError
from vvae.core.files import write_bytes
from vvae.encoders.base import Encoder
from vvae.latent.profile import RANKS, Profile, Ranked, ranked
from vvae.latent.space import LatentSpace
from vvae.latent.steering import Steering, check_steering, is_whole, steering_from_text
from vvae.serving.cards.png import plain_image, texts_of, with_texts

__all__ = ["Card", "Spec", "card_from", "read_card"]

Spec = Literal["v2", "v3"]
SCHEMA = 1
LARGEST = 32 << 20
OWN = "vvae"
V1 = ("name", "description", "personality", "scenario", "first_mes", "mes_example")
V2 = {
    "creator_notes": "",
    "system_prompt": "",
    "post_history_instructions": "",
    "alternate_greetings": [],
    "tags": [],
    "creator": "",
    "character_version": "",
    "extensions": {},
}
"""What V2 adds; clients refuse a card in which one is missing."""
V3_ONLY = (
    "assets",
    "nickname",
    "creator_notes_multilingual",
    "source",
    "group_only_greetings",
    "creation_date",
    "modification_date",
)
READ = ("description", "personality", "scenario", "first_mes", "mes_example")
"""What of a foreign card is read; notes and tags are about the card."""
MOST_COUNTED = 1 << 40
LONGEST_FIELD = 16_000
"""Characters of each of them that are read."""
_SENTENCE = re.compile(r"[.!?。！？\n]+\s*")
_MACRO = re.compile(r"\{\{(char|user)\}\}", re.IGNORECASE)
_SAID = re.compile(r"^\s*\{\{(char|user)\}\}\s*:\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Card:
    """A character card: its JSON, and the image it came in."""

    json: Mapping[str, Any]
    image: bytes | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        """Return the character's fields."""
        fields: Mapping[str, Any] = self.json["data"]
        return fields

    @property
    def name(self) -> str:
        """Return the character's name."""
        return str(self.data["name"])

    @property
    def own(self) -> Mapping[str, Any]:
        """Return what this project wrote into the card; empty in a foreign one."""
        extensions = self.data.get("extensions")
        part = extensions.get(OWN) if isinstance(extensions, dict) else None
        return part if isinstance(part, dict) and part.get("schema") == SCHEMA else {}

    def with_own(self, own: Mapping[str, Any]) -> Card:
        """Return the card with this project's part replaced."""
        extensions = self.data.get("extensions")
        extensions = {
            **(extensions if isinstance(extensions, dict) else {}),
            OWN: {"schema": SCHEMA, **own},
        }
        return Card({**self.json, "data": {**self.data, "extensions": extensions}}, self.image)

    def as_spec(self, spec: Spec) -> Card:
        """Return the card in another version; one that is in it already stays as it is."""
        if self.json["spec"] == f"chara_card_{spec}":
            return self
        data = dict(self.data)
        if spec == "v2":
            data = {key: value for key, value in data.items() if key not in V3_ONLY}
            return Card({"spec": "chara_card_v2", "spec_version": "2.0", "data": data}, self.image)
        data.setdefault("group_only_greetings", [])
        return Card({"spec": "chara_card_v3", "spec_version": "3.0", "data": data}, self.image)

    def text(self) -> str:
        """Return the card's JSON, equal for equal cards."""
        return json.dumps(self.json, ensure_ascii=False, indent=2) + "\n"

    def png(self) -> bytes:
        """Return the card's image with the card in both chunks: ``ccv3``, and ``chara`` for those
        who know V2 alone.
        """
        image = self.image or plain_image(self.name)
        texts = {"chara": self.as_spec("v2"), "ccv3": self.as_spec("v3")}
        return with_texts(
            image,
            {key: base64.b64encode(card.text().encode("utf-8")) for key, card in texts.items()},
        )

    def write(self, path: Path) -> None:
        """Write the card, as PNG where the name ends so, else as JSON."""
        write_bytes(
            path, self.png() if path.suffix.lower() == ".png" else self.text().encode("utf-8")
        )

    # --- as a persona ---

    def profile(self, space: LatentSpace) -> Profile:
        """Return the values in this project's part; what the space has not, dimension or label, is
        left.
        """
        slots = self.own.get("slots")
        values: dict[str, tuple[Ranked, ...]] = {}
        for name, slot in (slots if isinstance(slots, dict) else {}).items():
            if (
                name not in space.by_name
                or not isinstance(slot, dict)
                or not isinstance(slot.get("value"), str)
            ):
                continue
            dist = slot.get("dist")
            counted = dist if isinstance(dist, dict) else {}
            named = [
                Ranked(slot["value"], 1),
                *(Ranked(str(v), 1) for v in counted if v != slot["value"]),
            ]
            known = [rank for rank in named if _known(space, name, rank.value)]
            values |= {name: tuple(known[:RANKS])} if known else {}
        return Profile(self.name, 0, values, habits=self._habits(space))

    def _habits(self, space: LatentSpace) -> dict[str, tuple[Ranked, ...]]:
        """How often the person has each form, of what is drawn from a speaker's own habits."""
        habits = self.own.get("habits")
        result: dict[str, tuple[Ranked, ...]] = {}
        for name, counts in (habits if isinstance(habits, dict) else {}).items():
            if name not in space.by_name or not isinstance(counts, dict):
                continue
            known = {
                value: n
                for value, n in counts.items()
                if isinstance(n, int) and 0 < n < MOST_COUNTED and _known(space, name, value)
            }
            if known:
                result[name] = ranked(known, None)
        return result

    def steering(self, space: LatentSpace) -> Steering:
        """Return what is asked of z wherever the persona is used.

        Raises:
            ConfigError: it is not of this space.
        """
        text = self.own.get("steering")
        if not isinstance(text, str):
            return Steering()
        steering = steering_from_text(text, where=f"card of {self.name}")
        check_steering(steering, space, where=f"card of {self.name}")
        return steering

    def read(self, encoder: Encoder, space: LatentSpace) -> dict[str, Any]:
        """Return z of a foreign card: what the encoder reads in its text, sentence by sentence;
        nulls stay null.
        """
        sentences = [
            sentence
            for field in READ
            for sentence in _sentences(str(self.data.get(field) or "")[:LONGEST_FIELD], self.name)
        ]
        pairs = [
            Pair(f"card#{i}", "card", i, 0, self.name, ("you",), "heldout", s)
            for i, s in enumerate(sentences)
        ]
        counts: dict[str, Counter[str]] = {name: Counter() for name in space.names}
        for encoding in encoder.encode(pairs, {}):
            for name, slot in encoding.persona:
                counts[name][slot.value] += 1
        slots = {}
        for name, counter in counts.items():
            if best := ranked(counter):
                slots[name] = {
                    "value": best[0].value,
                    "source": "observed",
                    "confidence": round(best[0].support / len(sentences), 4),
                    "dist": dict(best),
                }
        return slots


def _known(space: LatentSpace, name: str, value: str) -> bool:
    labels = space.by_name[name].labels
    return bool(value.strip()) and (labels is None or value in labels)


def _sentences(text: str, name: str) -> list[str]:
    """The sentences of a text that are about the character or said by it."""
    sentences: list[str] = []
    for line in text.splitlines():
        mark = _SAID.match(line)
        if line.strip().upper() == "<START>" or (mark and mark[1].lower() == "user"):
            continue
        plain = _MACRO.sub(lambda m: name if m[1].lower() == "char" else "you", _SAID.sub("", line))
        sentences += [part.strip() for part in _SENTENCE.split(plain) if part.strip()]
    return sentences


def read_card(path: Path) -> Card:
    """Return a card from JSON or PNG; V1 becomes V2, what is missing in V2 is added.

    Raises:
        DataError: there is no card in the file.
    """
    where = str(path)
    try:
        with path.open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", where=where, fix="check the path"
        ) from None
    if len(data) > LARGEST:
        raise DataError(
            f"larger than {LARGEST >> 20} MB", where=where, fix="this is no character card"
        )
    if not data.startswith(b"\x89PNG"):
        return card_from(_object(data, where), where)
    texts = texts_of(data, where=where)
    held = texts.get("ccv3") or texts.get("chara")
    if held is None:
        raise DataError(
            "no card in this image", where=where, fix="export it as a character card, V2 or V3"
        )
    try:
        decoded = base64.b64decode(held, validate=True)
    except binascii.Error:
        raise DataError(
            "the card in this image is damaged", where=where, fix="export it again"
        ) from None
    return Card(card_from(_object(decoded, where), where).json, data)


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(data.decode("utf-8-sig"))
        whole = is_whole(json.dumps(content, ensure_ascii=False))
    except (ValueError, RecursionError):
        content, whole = None, False
    if not whole or not isinstance(content, dict):
        raise DataError(
            "no JSON object in UTF-8", where=where, fix="give a character card, V2 or V3"
        )
    return content


def card_from(content: dict[str, Any], where: str) -> Card:
    """Return a card from its JSON, as `read_card` does.

    Raises:
        DataError: it is no card.
    """
    if (
        "spec" not in content and isinstance(content.get("name"), str) and "data" not in content
    ):  # V1
        fields = {key: content.get(key, "") for key in V1} | V2
        content = {"spec": "chara_card_v2", "spec_version": "2.0", "data": fields}
    data: Any = content.get("data")
    if content.get("spec") not in ("chara_card_v2", "chara_card_v3") or not isinstance(data, dict):
        raise DataError("no character card", where=where, fix="V1, V2 and V3 are known")
    if not isinstance(data.get("name"), str) or not data["name"].strip():
        raise DataError("the card names nobody", where=where, fix="give it a name")
    missing = {
        key: value for key, value in {**dict.fromkeys(V1, ""), **V2}.items() if key not in data
    }
    return Card({**content, "data": {**data, **missing}} if missing else content)
