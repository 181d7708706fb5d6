"""Your own chats to a persona: python examples/own_persona.py EXPORT NAME [MODEL].

EXPORT is what WhatsApp, Telegram, Discord or another app wrote; NAME is whom to learn, as they are
called there. Everybody else gets a pseudonym. A stopped run goes on with the same command.
"""

import sys
from pathlib import Path

import vvae

export, name, *model = sys.argv[1:]
account = vvae.import_chats(export, "chats", learn=[name])
print(f"{account['kept']:,} of {account['messages']:,} messages kept: see chats/import.json")

config = {
    "run": "runs/mine",
    "data": {"path": "chats"},
    "pairs": {"speakers": [name]},
    "variants": ["FT", "SP+FT"],
    **({"decoder": {"model": model[0]}} if model else {}),
}
run = vvae.Run(vvae.RunConfig.model_validate(config))
run.make(until="report")
print(f"{name}: {run.profile(name).persona()}")
print(Path(run.folder, "report.html").resolve())
