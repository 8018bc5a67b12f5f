"""Generate images from options and a prompt."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from puq_magics.core.errors import InputError
from puq_magics.core.media_types import JPEG, PNG, WEBP
from puq_magics.magics.dry_run import show_dry_run
from puq_magics.magics.options import RAW_HINT, image_params, is_dry_run, resolve_save_path
from puq_magics.magics.views import media_view
from puq_magics.outputs.results import ImageResult
from puq_magics.prompts.image_resize import ImageLimits
from puq_magics.prompts.images import decode_image_part
from puq_magics.prompts.template import FilledText, fill_template
from puq_magics.session.image_call import ImageCall, ImageSpec, image
from puq_magics.session.session import Session

_EXTENSIONS = [kind.extension for kind in (PNG, JPEG, WEBP)]


def generate_image(
    session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> ImageResult | None:
    """Generate and show images, by the options; returns None for a dry run. Raises PuqError."""
    spec = _build_spec(session, args, prompt, variables)
    if is_dry_run(args):
        sent = "".join(f"\nwith it: {len(data):,} bytes of an image" for data in spec.images)
        show_dry_run(session, args, ImageCall(spec), f"prompt: {spec.prompt}{sent}")
        return None
    activity = "editing" if spec.images else "drawing"
    activity = activity if spec.count == 1 else f"{activity} {spec.count} images"
    view = media_view(session, args, f"{activity} with {spec.model}")
    return image(session, spec, view, args.out, over_budget=args.over_budget)


def _build_spec(
    session: Session, args: argparse.Namespace, prompt: str, variables: Mapping[str, Any]
) -> ImageSpec:
    limit = session.settings.max_value_chars
    filled = (
        FilledText(prompt)
        if args.raw
        else fill_template(prompt, variables, limit=limit, images=None, raw_hint=RAW_HINT)
    )
    save = resolve_save_path(args, _EXTENSIONS, number=args.count or 1)
    images, notes = _attached_images(args.attach or (), variables, session)
    model = session.model("image", args.model, suggest_models=not args.dry_run)
    return ImageSpec(
        model,
        filled.text,
        image_params(args, session.settings),
        images=images,
        notes=(*filled.notes, *notes),
        save=save,
        force=args.force,
    )


def _attached_images(
    names: Sequence[str], variables: Mapping[str, Any], session: Session
) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Return the images of ``-a``, and notes on them. Raises InputError for what is no image."""
    if not names:
        return (), ()
    from puq_magics.prompts.attachments import attach

    limits = ImageLimits(max_side=session.settings.image_max_side)
    attached = attach(names, variables, image_limits=limits)
    images = [decode_image_part(part) for part in attached.parts]
    if not all(images):
        raise InputError(
            "-a of %puq_image takes images only.", hint="Give a PNG, JPEG or WebP file, or a variable."
        )
    return tuple(image for image in images if image), attached.notes
