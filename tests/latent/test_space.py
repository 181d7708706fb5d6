from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vvae.core.errors import ConfigError
from vvae.latent.persona import Persona, Slot
from vvae.latent.space import LatentSpace, load_space

NINE = (
    "catchphrase",
    "emoji",
    "tone",
    "nickname",
    "relationship",
    "vibe",
    "topic",
    "personality",
    "hobby",
)


def test_the_papers_space_has_nine_dimensions_on_three_axes() -> None:
    space = load_space("paper")
    assert space.names == NINE
    assert space.axes == ("talking style", "interaction pattern", "personal attributes")
    assert [d.scope for d in space.dimensions] == [
        *["speaker"] * 3,
        *["pair"] * 2,
        *["turn"] * 2,
        *["speaker"] * 2,
    ]
    assert LatentSpace.from_dict(space.to_dict()) == space


def test_a_user_adds_renames_and_drops_dimensions_in_a_file(tmp_path: Path) -> None:
    data = load_space().to_dict()
    axes = data["axes"]
    assert isinstance(axes, dict)
    style = axes["talking style"]
    style["signature phrase"] = style.pop("catchphrase")
    style["formality"] = {
        "scope": "speaker",
        "reader": "prototype",
        "description": "how formal",
        "labels": {"formal": ["I would be delighted to assist."], "casual": ["yeah sure whatever"]},
    }
    del axes["personal attributes"]
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "axes": axes}, sort_keys=False), "utf-8")
    space = load_space(file)
    assert space.read_by("catchphrase")[0].name == "signature phrase"
    assert "formality" in space.names
    assert "hobby" not in space.names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes: {}", "no axes"),
        ("- a", "no axes"),
        ("axes: {a: {b: 3}}", r"axes\.a\.b"),
        ("axes: {a: {b: {scope: moon, reader: emoji, description: x}}}", r"axes\.a\.b\.scope"),
        ("axes: {a: {b: {scope: turn, reader: prototype, description: x}}}", "needs labels"),
        ("axes: {a: {b: {scope: turn, reader: emoji, description: x, colour: red}}}", "colour"),
        (
            "axes: {a: {b: {scope: turn, reader: prototype, description: x, labels: {l: []}}}}",
            "no example",
        ),
        (
            "axes: {a: {b: {scope: turn, reader: emoji, description: x}}, "
            "c: {b: {scope: turn, reader: emoji, description: x}}}",
            "twice",
        ),
        ("axes: [", "not YAML"),
        ("nmae: x\naxes: {a: {b: {scope: turn, reader: emoji, description: x}}}", "nmae"),
    ],
)
def test_a_wrong_space_says_what_and_where(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        load_space(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_dimensions_and_labels_name_the_choices() -> None:
    space = load_space()
    with pytest.raises(ConfigError, match=r"unknown dimension 'mood'.*catchphrase, emoji"):
        space.check("mood", "x")
    with pytest.raises(ConfigError, match=r"unknown label 'angry'.*annoyed"):
        space.check("tone", "angry")
    space.check("hobby", "anything at all")


def test_null_is_a_value_of_its_own() -> None:
    persona = Persona({"hobby": Slot("", "given")})
    assert persona.value("hobby") == ""
    assert persona.value("tone") is None
    both = persona.with_slots({"tone": Slot("sad", "sampled")})
    assert [name for name, _ in both.only("sampled")] == ["tone"]
