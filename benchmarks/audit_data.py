"""Public labelled chat as files that `vvae audit labels` reads, each in a development and a test
half by dialogue.

    python -m benchmarks.audit_data OUT --cped valid_split.csv --personachat valid.txt \
        --casino casino_train.json --goemotions train.tsv --topicalchat valid_freq.json
    vvae audit labels OUT/cped-test.yaml

cped          emotion -> tone, where a label of ours says the same; human labels
personachat   triples of hobbies and activities matched to utterances -> hobby; by machine: silver
goemotions    emotion -> tone; human labels. `test` is the tenth that `train_head.py` holds out; the
              tone head has learnt from `dev`, the rest
topicalchat   sentiment -> tone; the writers' own
casino        pictographs by Unicode's own property -> emoji; exact, and says nothing of typed faces
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import regex
import yaml

from vvae.core.random import uniform

EMOTIONS: Mapping[str, Any] = {
    "anger": "annoyed",
    "disgust": ["annoyed", "sarcastic"],
    "sadness": "sad",
    "depress": "sad",
    "happy": ["excited", "playful"],
    "grateful": ["grateful", "polite", "tender"],
    "fear": "worried",
    "worried": "worried",
    "astonished": "surprised",
    "neutral": None,
}
TONES: Mapping[str, tuple[str, ...]] = {
    "tender": ("caring",),
    "playful": ("amusement",),
    "excited": ("excitement", "joy", "love"),
    "annoyed": ("anger", "annoyance", "disgust"),
    "sad": ("sadness", "grief", "disappointment", "remorse"),
    "admiring": ("admiration",),
    "grateful": ("gratitude",),
    "curious": ("curiosity", "confusion"),
    "surprised": ("surprise",),
    "worried": ("fear", "nervousness"),
    "hopeful": ("optimism", "desire"),
}
"""GoEmotions: the emotions that stand for a tone."""
TOPICAL_CHAT: Mapping[str, str | None] = {
    "Angry": "annoyed",
    "Disguised": "annoyed",
    "Disgusted": "annoyed",
    "Fearful": "worried",
    "Happy": "excited",
    "Curious to dive deeper": "curious",
    "Sad": "sad",
    "Surprised": "surprised",
    "Neutral": None,
}
HOBBIES = frozenset({"has_hobby", "favorite_hobby", "like_activity", "like_sports"})
NEAR = {
    *(
        "like_general",
        "like_music",
        "favorite_music",
        "favorite_music_artist",
        "like_read",
        "like_watching",
    ),
    *(
        "like_movie",
        "favorite_movie",
        "favorite_book",
        "favorite_show",
        "favorite",
        "has_ability",
        "misc_attribute",
    ),
    *(
        "like_goto",
        "other",
        "<blank>",
        "want_do",
        "member_of",
        "favorite_activity",
        "favorite_sport",
        "like_animal",
    ),
    *("teach", "has_profession", "previous_profession"),
}
"""Relations that may stand for a hobby too: such utterances are left out."""
PICTOGRAPH = regex.compile(
    r"\p{Extended_Pictographic}(?:\uFE0F|[\U0001F3FB-\U0001F3FF]|\u200D\p{Extended_Pictographic})*"
)


def cped(path: Path) -> Iterable[dict[str, Any]]:
    """Rows of the CPED file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            emotion = row["Emotion"]
            yield {
                "dialogue": row["Dialogue_ID"],
                "speaker": row["Speaker"],
                "text": row["Utterance"],
                "label": emotion,
            }


def personachat(path: Path) -> Iterable[dict[str, Any]]:
    """Utterances of the ConvAI2 file, where all lines with a number are said by the two in turn."""
    number, spoken = -1, 0
    for line in path.read_text("utf-8").splitlines():
        head, *rest = line.split("\t")
        if "persona:" in head:
            number, spoken = (number + 1, 0) if spoken or number < 0 else (number, 0)
            continue
        spoken += 1
        text, *triples = rest
        found = [ast.literal_eval(triple) for triple in triples]
        hobbies = sorted(
            {value for _, relation, value in found if relation in HOBBIES and value != "<blank>"}
        )
        doubtful = any(relation in NEAR for _, relation, _ in found)
        label: list[str] | str = hobbies or ("doubtful" if doubtful else [])
        yield {
            "dialogue": f"p{number}",
            "speaker": "ab"[spoken % 2],
            "text": text,
            "label": label,
        }


def casino(path: Path) -> Iterable[dict[str, Any]]:
    """Utterances of the CaSiNo file; what the interface wrote is left out."""
    for dialogue in json.loads(path.read_text("utf-8")):
        for row in dialogue["chat_logs"]:
            if not row["text"].startswith(
                ("Submit-Deal", "Accept-Deal", "Reject-Deal", "Walk-Away")
            ):
                label = PICTOGRAPH.findall(row["text"])
                name = f"c{dialogue['dialogue_id']}"
                yield {"dialogue": name, "speaker": row["id"], "text": row["text"], "label": label}


def comments(path: Path) -> Iterable[dict[str, Any]]:
    """Rows of GoEmotions, each a dialogue of its own; an emotion without a tone is no evidence."""
    emotions = (path.parent / "labels.txt").read_text("utf-8").split()
    tone_of = {emotion: tone for tone, known in TONES.items() for emotion in known}
    for line in path.read_text("utf-8").splitlines():
        text, numbers, comment = line.split("\t")
        named = (emotions[int(number)] for number in numbers.split(","))
        label = sorted({tone_of[emotion] for emotion in named if emotion in tone_of}) or ["none"]
        yield {"dialogue": comment, "speaker": "a", "text": text, "label": label}


def topicalchat(path: Path) -> Iterable[dict[str, Any]]:
    """Rows of a Topical-Chat file."""
    for dialogue in json.loads(path.read_text("utf-8")):
        for turn in dialogue["turns"]:
            yield {
                "dialogue": dialogue["id"],
                "speaker": turn["agent"],
                "text": turn["message"],
                "label": turn["sentiment"],
            }


def first_half(name: str, dialogue: str) -> bool:
    """Return whether a dialogue is in the half that may be looked at while developing."""
    if name == "goemotions":
        return uniform("heads", dialogue) >= 0.1
    return uniform("audit", dialogue) < 0.5


SOURCES = {
    "cped": (cped, "tone", {"column": "label", "values": EMOTIONS}),
    "personachat": (personachat, "hobby", {"column": "label"}),
    "casino": (casino, "emoji", {"column": "label"}),
    "goemotions": (
        comments,
        "tone",
        {"column": "label", "values": {**{t: t for t in TONES}, "none": None}},
    ),
    "topicalchat": (topicalchat, "tone", {"column": "label", "values": dict(TOPICAL_CHAT)}),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    for name in SOURCES:
        parser.add_argument(f"--{name}", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, (read, dimension, column) in SOURCES.items():
        path: Path | None = getattr(arguments, name)
        if path is None:
            continue
        rows = [row for row in read(path) if row["label"] != "doubtful"]
        for half, wanted in (("dev", True), ("test", False)):
            kept = [row for row in rows if first_half(name, row["dialogue"]) == wanted]
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
            (arguments.out / f"{name}-{half}.jsonl").write_text(lines, "utf-8")
            mapping = {
                "path": f"{name}-{half}.jsonl",
                "dialogue": "dialogue",
                "speaker": "speaker",
                "text": "text",
                "dimensions": {dimension: column},
            }
            file = arguments.out / f"{name}-{half}.yaml"
            file.write_text(yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True), "utf-8")
            print(
                f"{file}: {len(kept):,} utterances, {len({row['dialogue'] for row in kept}):,} "
                "dialogues"
            )


if __name__ == "__main__":
    main()
