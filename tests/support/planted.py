"""Personal items as a library makes them up for five countries, among its sentences: what a
detector has not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from faker import Faker

LOCALES = ("en_US", "es_ES", "de_DE", "fr_FR", "zh_CN")
KINDS: dict[str, Callable[[Faker], str]] = {
    "email": lambda fake: fake.email(),
    "phone": lambda fake: fake.phone_number(),
    "card": lambda fake: fake.credit_card_number(),
    "iban": lambda fake: fake.iban(),
    "id": lambda fake: fake.ssn(),
    "address": lambda fake: fake.address().replace("\n", ", "),
    "url": lambda fake: f"{fake.uri()}?token={fake.uuid4()}",
    "ip": lambda fake: fake.ipv4(),
    "key": lambda fake: fake.random_element(
        (fake.sha1(), fake.sha256(), fake.uuid4(), fake.bothify(f"ghp_{'?' * 36}"))
    ),
}


class Planted(NamedTuple):
    """A message with one item in it, or none."""

    locale: str
    kind: str | None
    before: str
    item: str
    after: str

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.before, self.item, self.after) if part)


def planted(items: int, plain: int, seed: int) -> list[Planted]:
    """So many messages with an item, kinds and locales in turn, and so many without."""
    fakes = {locale: Faker(locale) for locale in LOCALES}
    for fake in fakes.values():
        fake.seed_instance(seed)
    found: list[Planted] = []
    kinds = list(KINDS)
    for number in range(items + plain):
        locale = LOCALES[number % len(LOCALES)]
        fake = fakes[locale]
        kind = kinds[(number // len(LOCALES)) % len(kinds)] if number < items else None
        before, after = fake.sentence(nb_words=5), fake.sentence(nb_words=4) if number % 3 else ""
        found.append(Planted(locale, kind, before, KINDS[kind](fake) if kind else "", after))
    return found
