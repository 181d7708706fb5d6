"""What is no one's own speech, taken out step by step and counted."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection

import regex

from vvae.core.dialogue import Dialogue
from vvae.corpus.formats import Sent

__all__ = ["STEPS", "Cleaning", "language_of"]

STEPS = {
    "bots": "sent by a bot",
    "forwarded": "forwarded",
    "links": "nothing but links",
    "duplicates": "the same message again",
}
"""Name of a step -> the reason its messages are counted under."""
LINKS = regex.compile(r"(?:(?:https?://|www\.)\S+\s*)+")
LINK_BEGINS = ("http", "www.")
REMEMBERED = 256
LANGUAGE_SAMPLE = 2000


class Cleaning:
    """A filter of messages that are nobody's own speech: the steps that are on.

    Args:
        keep: names of steps that are off.
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        self._on = [step for step in STEPS if step not in keep]
        self._recent: defaultdict[str, deque[tuple[object, ...]]] = defaultdict(
            lambda: deque(maxlen=REMEMBERED)
        )

    def reason(self, sent: Sent) -> str | None:
        """Return why a message is left out, or None for one that stays."""
        for step in self._on:
            if (step == "duplicates" and self._again(sent)) or (
                (step == "bots" and sent.bot)
                or (step == "forwarded" and sent.forwarded)
                or (step == "links" and _only_links(sent.message.text))
            ):
                return STEPS[step]
        return None

    def _again(self, sent: Sent) -> bool:
        """The same id; or, without ids, the same words in the same second. Minutes do not tell."""
        if sent.message.id is not None:
            key: tuple[object, ...] = (sent.message.id,)
        elif sent.at is not None and sent.at % 60:
            key = (sent.person.id, sent.at, sent.message.text)
        else:
            return False
        recent = self._recent[sent.chat]
        again = key in recent
        recent.append(key)
        return again


def _only_links(text: str) -> bool:
    text = text.strip()
    return text[:4] in LINK_BEGINS and LINKS.fullmatch(text) is not None


def language_of(dialogue: Dialogue) -> str | None:
    """Return the language of a dialogue as ISO 639-1, or None where no text tells it."""
    import py3langid

    text = " ".join(turn.text for turn in dialogue.turns)[:LANGUAGE_SAMPLE]
    return str(py3langid.classify(text)[0]) if any(c.isalpha() for c in text) else None
