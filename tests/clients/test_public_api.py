"""What `clip_labeler` exports is frozen, and importing it stays light."""

import subprocess
import sys

import clip_labeler


def test_exported_names_are_sorted_and_complete() -> None:
    """A name that callers import would vanish, or an internal one leak, without anybody deciding it."""
    assert clip_labeler.__all__ == [
        "AccessDeniedError",
        "AsyncLabelerClient",
        "BiasEstimate",
        "BoxedImage",
        "Calibration",
        "Credentials",
        "CropScores",
        "DeadlineError",
        "EmbeddedImage",
        "EncodedCrops",
        "EntropyGate",
        "Image",
        "ImageEmbedding",
        "ImageScores",
        "InvalidRequestError",
        "ItemError",
        "ItemFailedError",
        "LabelerClient",
        "LabelerError",
        "Limits",
        "OverloadedError",
        "Preprocessing",
        "ProtocolError",
        "ServerFaultError",
        "ServerInfo",
        "Timings",
        "UnavailableError",
        "UnknownVocabularyError",
        "Vocabulary",
    ]
    assert all(hasattr(clip_labeler, name) for name in clip_labeler.__all__)


def test_sync_and_asyncio_clients_have_the_same_methods() -> None:
    """One of the two clients would lag behind."""

    def methods(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    assert methods(clip_labeler.LabelerClient) == methods(clip_labeler.AsyncLabelerClient)


def test_the_import_pulls_in_nothing_heavy() -> None:
    """A program that only wants labels would need torch, or the packages of the server."""
    code = "import clip_labeler.__main__, sys; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"torch", "open_clip", "PIL", "cyclopts", "labeler_service", "trainer"}
    assert heavy.isdisjoint(modules)
