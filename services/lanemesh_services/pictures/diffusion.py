"""Diffusion models on the library diffusers: one image at a time, with previews, and a stop at the next step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lanemesh_services.pictures.quiet import quieten
from lanemesh_services.pictures.tiny import tiny_diffusion
from lanemesh_services.shared.emitting import Emitter
from lanemesh_services.shared.errors import import_failed, unusable
from lanemesh_services.shared.images import opaque
from lanemesh_services.shared.models import TINY_RANDOM, resolve

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_PROMPT = 20_000
"""Longest prompt in characters."""

Result = tuple[Literal["steps", "generated"], "Picture"]
"""An intermediate image, or the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to generate; the fields are the settings of `ImageGenerate`."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    steps: int
    guidance: float
    seed: int
    start: Picture | None
    strength: float
    preview_every: int
    """0: no previews."""


class _Stopped(Exception):
    """The reader of the images is gone."""


class DiffusionEngine:
    """A loaded model. The images of all runs are made one after the other."""

    def __init__(self, model: str) -> None:
        """Loads a model, the folder of a diffusers pipeline or "tiny-random". Nothing is downloaded.

        Raises:
            EngineMissing: diffusers or torch is missing.
            ModelMissing: there is no such folder.
            ModelUnusable: the folder is no pipeline that makes images from text.
        """
        try:
            import torch

            quieten()  # before the import, which warns of libraries that are not needed
            from diffusers import AutoPipelineForText2Image
        except (ImportError, OSError) as error:
            raise import_failed("diffusers", "image_generate", "image-models", error) from error
        folder = tiny_diffusion() if model == TINY_RANDOM else resolve(model, suggested=TINY_RANDOM)
        self._lock = threading.Lock()
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.float16 if self._device == "cuda" else torch.float32
        self._from_text = _loaded(AutoPipelineForText2Image, folder, dtype).to(self._device)
        self._from_text.set_progress_bar_config(disable=True)
        self._from_image: Any = None

    def generate(
        self,
        job: Job,
        progress: Callable[[float, float, str], object],
        warn: Callable[[str], object],
        emitter: Emitter[Result],
    ) -> None:
        """Emits the previews and the image of a job. Blocks; ends at the next step when the reader is gone.

        `warn` is called with a message if the model reads only the beginning of the prompt.
        """
        import torch

        with self._lock:
            if emitter.stopped:
                return
            options: dict[str, Any] = {
                "prompt": job.prompt,
                "negative_prompt": job.negative_prompt or None,
                "num_inference_steps": job.steps,
                "guidance_scale": job.guidance,
                "generator": torch.Generator("cpu").manual_seed(job.seed),
            }
            if job.start is None:
                pipeline = self._from_text
                options |= {"width": job.width, "height": job.height}
                total = job.steps
            else:
                pipeline = self._variations()
                options |= {"image": opaque(job.start).resize((job.width, job.height)), "strength": job.strength}
                total = max(1, min(job.steps, int(job.steps * job.strength)))

            def after_step(pipeline: Any, index: int, _: Any, state: dict[str, Any]) -> dict[str, Any]:
                done = index + 1
                progress(done, total, "generating an image")
                if emitter.stopped:
                    raise _Stopped
                if job.preview_every and done % job.preview_every == 0 and done < total:
                    emitter.emit(("steps", _preview(pipeline, state["latents"])))
                return state

            if left_out := self._unread(job.prompt):
                warn(f"the model does not read the last {left_out} tokens of the prompt {job.prompt[:60]!r}...")
            progress(0, total, "generating an image")
            try:
                picture = pipeline(**options, callback_on_step_end=after_step).images[0]
            except _Stopped:
                return
            emitter.emit(("generated", picture))

    def _unread(self, prompt: str) -> int:
        """The number of tokens of a prompt beyond the most that the model reads."""
        tokenizer = getattr(self._from_text, "tokenizer", None)
        most = getattr(tokenizer, "model_max_length", 0)
        if tokenizer is None or not 0 < most < MAX_PROMPT:
            return 0
        return max(0, len(tokenizer(prompt, truncation=False).input_ids) - most)

    def _variations(self) -> Any:
        """The same model as a pipeline that starts from an image."""
        if self._from_image is None:
            from diffusers import AutoPipelineForImage2Image

            self._from_image = AutoPipelineForImage2Image.from_pipe(self._from_text)
            self._from_image.set_progress_bar_config(disable=True)
        return self._from_image


def _loaded(kind: Any, folder: Path, dtype: Any) -> Any:
    if not (folder / "model_index.json").is_file():
        raise unusable(folder, "it has no model_index.json", "Give the folder of a model that diffusers has saved.")
    try:
        return kind.from_pretrained(folder, local_files_only=True, dtype=dtype)
    except Exception as error:
        hint = "Give the folder of a text-to-image model that diffusers has saved, with all of its files."
        raise unusable(folder, f"diffusers cannot load it: {error}"[:1_000].rstrip("."), hint) from error


def _preview(pipeline: Any, latents: Any) -> Picture:
    """The image that the latents of a step have become."""
    import torch

    with torch.no_grad():
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0]
    return pipeline.image_processor.postprocess(decoded.detach(), output_type="pil")[0]
