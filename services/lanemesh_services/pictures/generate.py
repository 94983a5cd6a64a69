"""`image_generate`: images from prompts."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from lanemesh import Context, Image, In, Node, Out, Whole
from lanemesh.extend import in_thread
from pydantic import Field

from lanemesh_services.pictures.decoding import decode_image
from lanemesh_services.pictures.engines import Loaded, give_back, take
from lanemesh_services.pictures.settings import ImageLimits
from lanemesh_services.shared.emitting import emitted
from lanemesh_services.shared.images import encode
from lanemesh_services.shared.media_errors import too_large
from lanemesh_services.shared.models import TINY_RANDOM

if TYPE_CHECKING:
    from lanemesh_services.pictures.diffusion import DiffusionEngine


class ImageGenerate(Node):
    """Generates an image from each prompt with a diffusion model, and sends its intermediate images.

    With an image at the input `image`, the result is a variation of it. A cancelled run stops at the next step.
    """

    pip_extra = "image-models"
    python_packages = ("torch", "transformers", "diffusers", "PIL")
    profiles: ClassVar = {
        TINY_RANDOM: {"model": TINY_RANDOM, "width": 64, "height": 64, "steps": 4, "preview_every": 1}
    }

    class Config(ImageLimits):
        """Settings of the generation."""

        model: str = Field(
            description='Folder of a model for diffusers, with model_index.json; "tiny-random": a generated one for tests.',
            json_schema_extra={"format": "path-or-name"},
        )
        steps: int = Field(25, ge=1, le=200, description="Number of steps: more are better and slower.")
        width: int = Field(512, ge=32, le=2_048, multiple_of=8, description="Width of the image in pixels.")
        height: int = Field(512, ge=32, le=2_048, multiple_of=8, description="Height of the image in pixels.")
        guidance: float = Field(7.5, ge=0, le=50, description="How closely the image follows the prompt.")
        negative_prompt: str = Field("", max_length=10_000, description="What the image shall not show.")
        strength: float = Field(
            0.6, gt=0, le=1, description="With an image at the input: how much is changed; 1 keeps nothing of it."
        )
        seed: int | None = Field(
            0,
            ge=0,
            lt=2**63,
            description="Seed of the random numbers; null: another one for each image, which is logged.",
        )
        preview_every: int = Field(
            5,
            ge=0,
            le=200,
            description="An intermediate image after this number of steps, where `steps` is connected; 0: none.",
        )
        format: Literal["png", "jpeg", "webp", "raw"] = Field("png", description="Format of the images.")

    text: Annotated[In[Whole[str]], "The prompts."]
    image: Annotated[In[Whole[Image]], "An image to start from."] = None  # type: ignore[assignment]
    generated: Annotated[Out[Image], "The images."]
    steps: Annotated[
        Out[Image], "The intermediate images of each one, from noise to the result, which is not among them."
    ]

    @classmethod
    async def load(cls, config: Any) -> Loaded[DiffusionEngine]:
        """Loads the model, unless this process has the same one already."""
        from lanemesh_services.pictures.diffusion import DiffusionEngine

        return await take(DiffusionEngine, config.model)

    @classmethod
    async def unload(cls, resource: Loaded[DiffusionEngine]) -> None:
        """Frees the model, unless another component uses it."""
        await give_back(resource)

    async def gen_process(self, context: Context) -> AsyncGenerator[tuple[str, Any], None]:
        """Generates one image."""
        from lanemesh_services.pictures.diffusion import MAX_PROMPT, Job

        config = self.config
        if len(self.text) > MAX_PROMPT:
            why = f"it has {len(self.text):,} characters, and the limit is {MAX_PROMPT:,}"
            raise too_large(f"the prompt {self.text[:60]!r}...", why, "Shorten it, such as by summarise")
        seed = config.seed
        if seed is None:
            seed = random.SystemRandom().randrange(2**32)
            context.log.info("the seed of the image is %d", seed)
        start = None
        if self.image is not None:
            start = (await in_thread(partial(decode_image, max_pixels=config.max_pixels), self.image, context)).picture
        wants_previews = "steps" in context.connected_outputs and config.preview_every
        job = Job(
            prompt=self.text,
            negative_prompt=config.negative_prompt,
            width=config.width,
            height=config.height,
            steps=config.steps,
            guidance=config.guidance,
            seed=seed,
            start=start,
            strength=config.strength,
            preview_every=config.preview_every if wants_previews else 0,
        )
        run = partial(self.resource.engine.generate, job, context.progress, context.log.warning)
        async with aclosing(emitted(run)) as results:
            async for kind, picture in results:
                yield kind, await in_thread(encode, picture, config.format)
