"""V-VAE: chat models that talk like particular people, with knobs one can read.

A frozen encoder reads each human reply and names its latent traits z, or null; nulls are drawn from
the corpus's empirical prior; a LoRA decoder learns p(reply | context, z); a benchmark asks how far
its habits are from people's.

    import vvae

    dialogues = vvae.load_dialogues("chats.jsonl")
    space = vvae.LatentSpace.load("default")
    pairs = vvae.make_pairs(dialogues)
    encoder = vvae.RulesEncoder.fit(pairs, space)
    prior = vvae.Prior.count(encoder.encode(pairs), space)

    run = vvae.Run.open("config.yaml").make(until="report")
    chat = vvae.Chat(run, "Ana", tone="playful", topic="auto")
    reply = chat.say("did you see the film?")
    print(reply, reply.z)

The names below are the public surface; each is loaded when it is first used, so that importing the
package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vvae.config import RunConfig, load_config
    from vvae.core.dialogue import Dialogue, Message, Pair, Turn
    from vvae.core.errors import UserError, VVAEError
    from vvae.core.text import Span
    from vvae.corpus.importing import import_chats
    from vvae.corpus.loading import load_dialogues
    from vvae.corpus.pairs import make_pairs
    from vvae.encoders.llm.encoder import LLMConfig, LLMEncoder
    from vvae.encoders.rules.encoder import RulesEncoder
    from vvae.evaluation.study import measure_chatbot
    from vvae.latent.persona import Persona, Slot
    from vvae.latent.prior import Prior
    from vvae.latent.profile import Profile
    from vvae.latent.readers import Reader
    from vvae.latent.readers import register as register_reader
    from vvae.latent.sampling import fill_nulls
    from vvae.latent.space import LatentSpace
    from vvae.metrics.metric import reply_metric
    from vvae.pipeline.run import Run
    from vvae.serving.chat import Chat

__all__ = [
    "Chat",
    "Dialogue",
    "LLMConfig",
    "LLMEncoder",
    "LatentSpace",
    "Message",
    "Pair",
    "Persona",
    "Prior",
    "Profile",
    "Reader",
    "RulesEncoder",
    "Run",
    "RunConfig",
    "Slot",
    "Span",
    "Turn",
    "UserError",
    "VVAEError",
    "__version__",
    "fill_nulls",
    "import_chats",
    "load_config",
    "load_dialogues",
    "make_pairs",
    "measure_chatbot",
    "register_reader",
    "reply_metric",
]

__version__ = "0.2.0"

_HOME = {
    "Chat": "serving.chat",
    "Dialogue": "core.dialogue",
    "LLMConfig": "encoders.llm.encoder",
    "LLMEncoder": "encoders.llm.encoder",
    "LatentSpace": "latent.space",
    "Message": "core.dialogue",
    "Pair": "core.dialogue",
    "Persona": "latent.persona",
    "Prior": "latent.prior",
    "Profile": "latent.profile",
    "Reader": "latent.readers",
    "RulesEncoder": "encoders.rules.encoder",
    "Run": "pipeline.run",
    "RunConfig": "config",
    "Slot": "latent.persona",
    "Span": "core.text",
    "Turn": "core.dialogue",
    "UserError": "core.errors",
    "VVAEError": "core.errors",
    "fill_nulls": "latent.sampling",
    "import_chats": "corpus.importing",
    "load_config": "config",
    "load_dialogues": "corpus.loading",
    "make_pairs": "corpus.pairs",
    "measure_chatbot": "evaluation.study",
    "register_reader": "latent.readers:register",
    "reply_metric": "metrics.metric",
}
"""Public name -> the module that defines it, and its name there where that is another one."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vvae' has no attribute {name!r}")
    module, _, inner = _HOME[name].partition(":")
    value = getattr(importlib.import_module(f"vvae.{module}"), inner or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
