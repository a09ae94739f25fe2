"""Vocabularies: class names and prompt templates to one text embedding a class, kept under a hash of their content."""

import asyncio
import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property

import grpc
import numpy as np
from numpy.typing import NDArray

from labeler_service.backends import Embeddings
from labeler_service.errors import RequestError

DEFAULT_TEMPLATES = ("a photo of the {}",)  # paper section 4.1
# open_clip's list for ImageNet, the longest in use, has 80.
MAX_TEMPLATES = 256
# Texts per call of the text tower: image batches of other callers run in between.
TEXTS_PER_BATCH = 64
# A vocabulary of 2000 classes takes 8 MB. One that was dropped is made again from the same request.
MAX_VOCABULARIES = 64


@dataclass(frozen=True)
class VocabularySpec:
    """What a caller asks for. `temperature` None: the model's own."""

    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    temperature: float | None

    def check(self, *, max_classes: int, max_text_bytes: int) -> None:
        """Raises RequestError where the contract is not kept."""
        names, templates = self.class_names, self.templates
        if not 1 <= len(names) <= max_classes:
            raise RequestError(
                "CLASS_COUNT", f"class_names: {len(names)} names; between 1 and {max_classes} are allowed"
            )
        if len(templates) > MAX_TEMPLATES:
            raise RequestError("TEMPLATE_COUNT", f"prompt_templates: {len(templates)}; the limit is {MAX_TEMPLATES}")
        for text in (*names, *templates):
            if not text.strip():
                raise RequestError("EMPTY_TEXT", "class_names and prompt_templates must not be blank")
            if len(text.encode()) > max_text_bytes:
                raise RequestError("TEXT_TOO_LONG", f"{text[:40]!r}... has more than {max_text_bytes} bytes")
        if len(set(names)) < len(names):
            duplicate = next(name for name in names if names.count(name) > 1)
            raise RequestError("DUPLICATE_CLASS", f"class_names: {duplicate!r} occurs more than once")
        for template in templates:
            if template.count("{}") != 1:
                raise RequestError("BAD_TEMPLATE", f"prompt template {template!r} must hold exactly one {{}}")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise RequestError("BAD_TEMPERATURE", f"temperature must be positive, got {self.temperature}")

    @cached_property
    def id(self) -> str:
        """sha256 of the content; equal on every replica."""
        content = json.dumps([self.class_names, self.templates, self.temperature], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Text embeddings, unit rows, float32 (C, D), and the softmax temperature that goes with them."""

    id: str
    embeddings: NDArray[np.float32]
    temperature: float


class VocabularyStore:
    """The vocabularies that were used last."""

    def __init__(self, encode_texts: Callable[[list[str]], Awaitable[Embeddings]], *, model_temperature: float) -> None:
        self._encode_texts = encode_texts
        self._model_temperature = model_temperature
        self._vocabularies: OrderedDict[str, Vocabulary] = OrderedDict()
        self._creating = asyncio.Lock()

    async def create(self, spec: VocabularySpec) -> Vocabulary:
        """Encodes it, once however many callers ask at a time."""
        if spec.id in self._vocabularies:
            return self.get(spec.id)
        async with self._creating:
            if spec.id not in self._vocabularies:
                self._vocabularies[spec.id] = Vocabulary(
                    id=spec.id,
                    embeddings=await self._encode(spec),
                    temperature=spec.temperature or self._model_temperature,
                )
                if len(self._vocabularies) > MAX_VOCABULARIES:
                    self._vocabularies.popitem(last=False)
            return self.get(spec.id)

    def get(self, vocabulary_id: str) -> Vocabulary:
        """Raises RequestError (NOT_FOUND) when this replica does not hold it."""
        if vocabulary_id not in self._vocabularies:
            raise RequestError(
                "UNKNOWN_VOCABULARY",
                f"vocabulary {vocabulary_id[:64]!r} is not known here: create it again",
                code=grpc.StatusCode.NOT_FOUND,
            )
        self._vocabularies.move_to_end(vocabulary_id)
        return self._vocabularies[vocabulary_id]

    async def _encode(self, spec: VocabularySpec) -> NDArray[np.float32]:
        """Mean of the templates' unit vectors by class, made unit again, as CLIP's prompt ensembles are
        (https://github.com/openai/CLIP/blob/main/notebooks/Prompt_Engineering_for_ImageNet.ipynb)."""
        templates = spec.templates or DEFAULT_TEMPLATES
        texts = [template.replace("{}", name) for name in spec.class_names for template in templates]
        batches = [texts[start : start + TEXTS_PER_BATCH] for start in range(0, len(texts), TEXTS_PER_BATCH)]
        encoded_TD = np.concatenate([await self._encode_texts(batch) for batch in batches])
        mean_CD = encoded_TD.reshape(len(spec.class_names), len(templates), -1).mean(axis=1)
        embeddings_CD: NDArray[np.float32] = mean_CD / np.linalg.norm(mean_CD, axis=1, keepdims=True)
        return embeddings_CD
