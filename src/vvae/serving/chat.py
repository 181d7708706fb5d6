"""A chat with a persona of a run, in two lines of Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vvae.core.errors import DataError
from vvae.decoder.variants import DEFAULT_VARIANT
from vvae.inference.engine import GenerationConfig, no_strength
from vvae.latent.steering import Knob, Steering, check_steering
from vvae.pipeline.calibration import reaches
from vvae.pipeline.run import Run
from vvae.serving.engines import check_adapter, llama_base, open_engine, reads, why_unread
from vvae.serving.session import ChatReply, ChatSession, ConversationReader

__all__ = ["Chat", "open_session"]

MAX_NEW_TOKENS = 120


class Chat:
    """A conversation with one persona of a run.

    Args:
        run: a run with a trained adapter, or its folder.
        speaker: whose profile speaks; the learned one with most replies by default.
        variant: which adapter answers.
        rates: dimension -> the share of replies in which its value shall show.
        strengths: dimension -> how far its value is pushed beyond what training does; needs
            transformers.
        candidates: replies written at the most, of which the first that meets the rates is taken.
        temperature: 0 is greedy, 1 the model as it is.
        top_p: the share of probability that is drawn from.
        seed: of all draws; the same seed and messages give the same replies.
        engine: what writes: auto, transformers or llama.cpp.
        encoder_endpoint: the URL to which the run's encoder may send the conversation, where it is
            a model on another machine.
        knobs: dimension = value; "auto" follows the conversation, "sample" draws anew for each
            reply, None leaves it out. Nobody's knob is the profile's value.

    Raises:
        ConfigError: the speaker, the variant, a dimension or a label is unknown.
        DataError: the run is not trained.

    Example:
        >>> import vvae
        >>> chat = vvae.Chat("runs/demo", "Ana", tone="playful", topic="auto")  # doctest: +SKIP
        >>> reply = chat.say("did you see the film?")  # doctest: +SKIP
        >>> print(reply, reply.z)  # doctest: +SKIP
        not yet!! tell me
        tone=playful  topic~film and television
    """

    def __init__(
        self,
        run: Run | str | Path,
        speaker: str | None = None,
        *,
        variant: str = DEFAULT_VARIANT,
        rates: Mapping[str, float] | None = None,
        strengths: Mapping[str, float] | None = None,
        candidates: int | None = None,
        temperature: float = 0.8,
        top_p: float = 0.95,
        seed: int = 0,
        engine: str = "auto",
        encoder_endpoint: str | None = None,
        **knobs: str | None,
    ) -> None:
        run = run if isinstance(run, Run) else Run.open(run)
        steering = Steering(
            knobs={name: Knob.of(value) for name, value in knobs.items()},
            rates=rates or {},
            strengths=strengths or {},
            candidates=candidates,
        )
        self._session = open_session(
            run,
            speaker,
            variant,
            steering,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            engine=engine,
            encoder_endpoint=encoder_endpoint,
        )

    @property
    def speaker(self) -> str:
        """Return who speaks."""
        return self._session.profile.speaker

    def say(self, text: str) -> ChatReply:
        """Return the persona's reply to a message; a line break separates several."""
        return self._session.reply(text)


def open_session(
    run: Run,
    speaker: str | None,
    variant: str,
    steering: Steering,
    *,
    temperature: float,
    top_p: float,
    seed: int,
    max_tokens: int = MAX_NEW_TOKENS,
    engine: str = "auto",
    base: Path | None = None,
    encoder_endpoint: str | None = None,
) -> ChatSession:
    """Return a session over a trained run.

    Raises:
        DataError: a file of the run is missing.
        ConfigError: the speaker, the variant, a dimension or a label is unknown; or a knob follows
            the conversation, or candidates are read, and the encoder would send them to a machine
            that was not allowed; or a strength is asked of an engine that can give none.
    """
    check_steering(steering, run.space, where="knobs")
    if reads(steering, run.space) and (refused := why_unread(run, encoder_endpoint)):
        raise refused
    sets_off = llama_base(run, engine, base) is None
    if any(steering.strengths.values()) and not sets_off:
        raise no_strength("--strength")
    adapter = run.trained_variant(variant)
    for name in ("prior.json", "profiles.parquet"):
        if not run.path(name).exists():
            raise DataError(
                "the run has no such file",
                where=str(run.path(name)),
                fix="finish it with 'vvae train CONFIG'",
            )
    profile = run.profile(speaker)
    reader = ConversationReader(run.single_encoder, run.space)
    check_adapter(run, adapter)
    prompter, opened = open_engine(run, adapter, engine, base)
    return ChatSession(
        prompter=prompter,
        engine=opened,
        space=run.space,
        prior=run.prior,
        profile=profile,
        reader=reader,
        generation=GenerationConfig(
            temperature=temperature, top_p=top_p, max_new_tokens=max_tokens
        ),
        window_tokens=run.config.pairs.window_tokens,
        steering=steering,
        reach=reaches(run, adapter, strengths=sets_off).__getitem__,
        seed=seed,
        shows_z=adapter.shows_slots,
        told=adapter.dimensions,
    )
