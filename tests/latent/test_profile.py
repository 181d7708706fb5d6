"""Profiles: what belongs to a speaker, and what is drawn from the speaker's own habits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from vvae.core.dialogue import Dialogue, Message, Pair, Turn
from vvae.corpus.pairs import make_pairs
from vvae.encoders.rules.encoder import RulesEncoder
from vvae.latent.prior import Prior, count
from vvae.latent.profile import Profile, build_profiles
from vvae.latent.sampling import complete
from vvae.latent.space import load_space
from vvae.latent.steering import Knob, Steering, steer
from vvae.latent.tables import read_profiles, write_profiles

SPACE = load_space("paper+form")
# Ana asks with capitals and three times in four; Ben never does.
SAID = {"ana": ["Are you in?", "Is it so?", "Do you?", "I am out."], "ben": ["fine by me"] * 4}


def corpus() -> tuple[Sequence[Pair], Prior, Mapping[str, Profile]]:
    turns = [
        Turn(i, who, (Message(SAID[who][i // 2 % 4]),)) for i, who in enumerate(["ana", "ben"] * 40)
    ]
    pairs = make_pairs([Dialogue("d", tuple(turns))])
    personas = {e.pair_id: e.persona for e in RulesEncoder.fit(pairs, SPACE).encode(pairs)}
    train = [personas[p.pair_id] for p in pairs if p.split == "train"]
    prior = count(train, SPACE, encoder="rules", corpus="c")
    return pairs, prior, build_profiles(pairs, personas, SPACE)


def test_an_unset_form_is_drawn_as_the_speaker_writes(tmp_path: Path) -> None:
    pairs, prior, profiles = corpus()
    write_profiles(tmp_path / "profiles.parquet", profiles)
    profiles = read_profiles(tmp_path / "profiles.parquet")
    asked = prior["question"].counts
    assert min(asked.values()) > 0.2 * sum(asked.values()), "everyone's prior has both"
    drawn = {
        who: Counter(
            slot.value
            for pair in pairs
            for seed in range(5)
            if (slot := complete(profiles[who], pair, prior, SPACE, seed=seed)["question"])
        )
        for who in SAID
    }
    assert set(drawn["ben"]) == {"does not ask"}
    share = drawn["ana"]["asks"] / drawn["ana"].total()
    assert abs(share - 0.75) < 0.1, "as often as she asks, and not always"


def test_a_habit_is_no_trait_of_the_profile_and_gives_way_to_a_knob() -> None:
    _, prior, profiles = corpus()
    ben = profiles["ben"]
    assert ben.persona()["case"] is None
    drawn = steer(Steering(), SPACE, prior, ben, conversation="c", turn=1, seed=0)
    assert drawn.dimensions["case"][:3:2] == ("lower", "sampled")
    asked = Steering(knobs={"case": Knob.of("shouted")})
    given = steer(asked, SPACE, prior, ben, conversation="c", turn=1, seed=0)
    assert given.dimensions["case"][:3:2] == ("shouted", "given")
