"""The rates of HumanChatBench. Reconstructed: the paper has no formula for EC and HM.

CP  share of replies that contain the catchphrase shown
EC  share of replies that contain the emoji (or emoticon) shown
HM  share of replies that mention the hobby shown, by name or alias

When a reply shows a value is each reader's own word (`vvae.latent.readers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vvae.core.text import emoji_spans, normal_form
from vvae.metrics.metric import Metric, register

__all__ = ["CP", "EC", "HM", "emoji_consistency"]

CP = register(Metric("CP", "catchphrase presence", "%", "value", reader="catchphrase"))
EC = register(Metric("EC", "emoji consistency", "%", "value", reader="emoji"))
HM = register(Metric("HM", "hobby mentioning", "%", "value", reader="hobby"))


def emoji_consistency(replies: Iterable[tuple[str, Sequence[str]]]) -> tuple[int, int]:
    """Return how many of the replies with any emoji hold one of the profile's: (such replies,
    replies with emoji).

    Args:
        replies: (reply, the profile's emoji).
    """
    own = bearing = 0
    for reply, profile in replies:
        emoji = {normal_form(span.value) for span in emoji_spans(reply)}
        bearing += bool(emoji)
        own += bool(emoji & {normal_form(value) for value in profile})
    return own, bearing
