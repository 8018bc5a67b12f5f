"""From an image magic's options and prompt to the call; imported when the first one runs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from puq_magics.core.media_types import JPEG, PNG, WEBP
from puq_magics.magics.dry_run import preview
from puq_magics.magics.options import read_params, save_target
from puq_magics.magics.views import media_view
from puq_magics.outputs.results import ImageResult
from puq_magics.prompts.template import Filled, fill
from puq_magics.session.image_call import ImageCall, ImageSpec, image
from puq_magics.session.session import Session

_RESERVED = ("model", "prompt", "size", "n")
_UNSENDABLE = ("self", "on_retry", "keep")  # names of the client's own
_EXTENSIONS = [kind.extension for kind in (PNG, JPEG, WEBP)]


def draw(
    session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> ImageResult | None:
    """Have images made as the options say, and show them; None when nothing is to be sent. Raises PuqError."""
    call = _call(session, args, prompt, variables)
    if args.dry_run:
        told = f"prompt: {call.prompt}"
        print(preview(session, ImageCall(call), told=told))  # noqa: T201 - what was asked for
        return None
    what = "drawing" if call.count == 1 else f"drawing {call.count} images"
    return image(session, call, media_view(session, args, f"{what} with {call.model}"), args.out)


def _call(session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]) -> ImageSpec:
    filled = Filled(prompt) if args.raw else fill(prompt, variables)
    params: dict[str, Any] = {"size": args.size or session.settings.image_size, "n": args.count}
    params |= read_params(args.param, _RESERVED, _UNSENDABLE)
    save = save_target(args, _EXTENSIONS, number=args.count or 1)
    model = session.model("image", args.model, suggest_models=not args.dry_run)
    return ImageSpec(model, filled.text, params, notes=filled.notes, save=save, force=args.force)
