"""Images: what to ask of which model, and what came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puq_magics.api.request import Request
from puq_magics.api.types import Usage
from puq_magics.core.errors import APIError, APIStatusError
from puq_magics.outputs.results import ImageResult
from puq_magics.outputs.results.provenance import hash_content
from puq_magics.outputs.views.media import MediaView
from puq_magics.outputs.views.progress import Ticker
from puq_magics.prompts.token_estimate import estimate_tokens
from puq_magics.session.budget import DEFAULT_MEGAPIXELS, CallInfo
from puq_magics.session.calls import run_call, unsaved_hint
from puq_magics.session.session import Session

if TYPE_CHECKING:
    from puq_magics.api.client import Router
    from puq_magics.api.images import ImagesResponse


#: Statuses of a router that has no such endpoint.
_NO_ENDPOINT = (404, 405, 501)


@dataclass(frozen=True)
class ImageSpec:
    """Model, prompt and parameters of a call."""

    model: str
    prompt: str
    #: Further fields of the request, such as ``size`` and ``n``; those that are None are not sent.
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Images to edit; without any, images are generated.
    images: Sequence[bytes] = ()
    #: What a reader should know of how the prompt was filled.
    notes: Sequence[str] = ()
    #: Where to save the images; a path that ``check_save_path`` gave.
    save: Path | None = None
    #: Whether ``save`` may replace a file.
    force: bool = False

    @property
    def count(self) -> int:
        """Number of requested images."""
        number = self.params.get("n")
        return number if isinstance(number, int) and number > 0 else 1


def image(
    session: Session, spec: ImageSpec, view: MediaView, out: str | None = None, *, over_budget: bool = False
) -> ImageResult:
    """Generate images, show and store them with ``run_call``.

    Raises InputError if they cannot be saved; they are in ``_puq`` then.
    """
    try:
        return run_call(session, ImageCall(spec), view, out, over_budget=over_budget)
    except APIStatusError as error:
        if spec.images and error.status in _NO_ENDPOINT and "model" not in error.detail.lower():
            error.hint = (
                "This router may not edit images (POST /v1/images/edits): without -a, images are generated."
            )
        raise


class ImageCall:
    """One prompt and its images."""

    def __init__(self, spec: ImageSpec) -> None:
        self._spec = spec
        self._images: ImagesResponse | None = None

    @property
    def info(self) -> CallInfo:
        """Facts for the budget and the ledger."""
        spec = self._spec
        return CallInfo(
            "image",
            spec.model,
            estimate_tokens(spec.prompt),
            count=spec.count,
            megapixels=_megapixels(spec.params.get("size")),
            content=[spec.prompt, *map(hash_content, spec.images)] if spec.images else spec.prompt,
            params=spec.params,
        )

    def request(self, router: Router) -> Request:
        """Return the request that ``run`` sends."""
        spec = self._spec
        if spec.images:
            return router.edit_image_request(
                spec.prompt, spec.images, model=spec.model, extra_body=spec.params
            )
        return router.image_request(spec.prompt, model=spec.model, extra_body=spec.params)

    def run(self, router: Router, view: MediaView) -> None:
        """Send the request and receive the answer."""
        spec = self._spec
        try:
            with Ticker(view.show_waiting, setup=view.prepare):
                send = partial(router.edit_image, images=spec.images) if spec.images else router.image
                self._images = send(
                    spec.prompt,
                    model=spec.model,
                    on_retry=view.show_retry,
                    on_partial=self._store_images,
                    extra_body=spec.params,
                )
        except APIError as error:
            self._keep_partial(error)
            raise

    def usage(self) -> Usage | None:
        """Return the tokens used, if known."""
        return None if self._images is None else self._images.usage

    def result(self, status: str) -> ImageResult:
        """Return the result as far as it arrived."""
        spec, images = self._spec, self._images
        return ImageResult(
            images=() if images is None else images.images,  # type: ignore[arg-type]  # it converts them to ImageFile
            prompt=spec.prompt,
            model=spec.model if images is None else images.model,
            usage=self.usage(),
            request_id=None if images is None else images.request_id,
            status=status,
            notes=(*spec.notes, images.note) if images is not None and images.note else spec.notes,
            raw={} if images is None else images.raw,
        )

    def finalize(self, result: ImageResult) -> None:
        """Save the result, if requested."""
        if self._spec.save is not None and result.images:
            with unsaved_hint("The images are"):
                result.save(self._spec.save, force=self._spec.force)

    def _store_images(self, images: ImagesResponse) -> None:
        """Store the images of an answer that fails or is interrupted."""
        self._images = images

    def _keep_partial(self, error: APIError) -> None:
        """Keep what came of a failed answer: the good images here, what is none in files."""
        from puq_magics.api.images import ImagesResponse
        from puq_magics.session.partial_results import save_partial

        error.python_hint = ""  # the partial result is in _puq
        partial = error.partial
        if isinstance(partial, bytes):
            save_partial(error, [partial])
        if not isinstance(partial, ImagesResponse):
            return
        self._images = partial
        if partial.images:
            number = len(partial.images)
            error.extend_hint(
                "One valid image is in _puq." if number == 1 else f"{number} valid images are in _puq."
            )
        save_partial(error, [*partial.rejected, *_url_response(partial.raw)])


def _megapixels(size: object) -> float:
    """Return the megapixels of a size such as ``1024x1024``, of 2**20 pixels each."""
    width, _, height = str(size).partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        return DEFAULT_MEGAPIXELS
    return int(width) * int(height) / 2**20


def _url_response(raw: Mapping[str, Any]) -> list[bytes]:
    """Return an answer that names images by URL, so that they can be fetched by hand."""
    entries = raw.get("data")
    named = (
        [entry.get("url") for entry in entries if isinstance(entry, dict)]
        if isinstance(entries, list)
        else []
    )
    is_there = any(isinstance(url, str) and url.startswith("http") for url in named)
    return [json.dumps(raw, indent=1).encode()] if is_there else []
