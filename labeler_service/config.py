"""Settings of the labeler: one frozen dataclass, every field a flag with a LABELER_* variable behind it."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEMO_MODEL = "demo"
# Half of it is what Python, NumPy and Pillow take (measured: 63 MB).
MIN_DECODE_MEMORY_BYTES = 128 * 2**20


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of one server.

    Raises ValueError when values contradict each other.
    """

    # Model.
    model: str | None = None
    """open_clip model name, or "demo". With --model-config: the name to serve it under. [default: demo]"""
    pretrained: str | None = None
    """Weights: an open_clip tag such as "openai", or a checkpoint file."""
    model_config: Path | None = None
    """open_clip model config (JSON) of an architecture that open_clip does not know."""
    quick_gelu: bool | None = None
    """Activation that the weights were trained with. [default: what the tag, archive or model config says]"""

    # Address.
    host: str = "127.0.0.1"
    """Address to listen on. Another than loopback needs --tls-cert, or --insecure for plain text."""
    port: int = 50051
    """Port to listen on; 0 takes a free one."""
    insecure: bool = False
    """Allow plain-text connections from other machines."""
    tls_cert: Path | None = None
    """Certificate chain of the server (PEM): connections are TLS 1.2 or later. Read again when it changes."""
    tls_key: Path | None = None
    """Key of --tls-cert (PEM, not encrypted)."""
    tls_client_ca: Path | None = None
    """Authorities (PEM) of which one must have signed a caller's own certificate: mutual TLS."""
    max_connection_age: float = 3600.0
    """Seconds after which callers connect anew, and so find new replicas; calls in flight are not cut."""

    # Callers.
    token_file: Path | None = None
    """Lines of NAME TOKEN [IMAGES_PER_MINUTE]: calls need "authorization: Bearer TOKEN". Read again when it changes."""
    reflection: bool = True
    """Tell callers the contract; with --token-file, those with a token only."""

    # Device.
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the towers. auto: float16, in which CLIP was released, on CUDA and float32 on the CPU."""
    # onnxruntime takes less CPU time, but least where a server spends it. In batches of 1, 8 and 32, torch takes 3.3,
    # 1.7 and 1.5 times as much with the demo model at 96 pixels, 1.2, 1.1 and 1.3 times with RN50 at 224, and 1.3, 1.0
    # and 1.0 times with ViT-B-32 (python -m benchmarks.backends, 2 busy cores, 2026-11, within 0.1): too little for a
    # first start that waits for an export.
    backend: Literal["torch", "onnxruntime", "tensorrt"] = "torch"
    """What runs the model; onnxruntime and tensorrt export it at its first start."""
    export_dir: Path = Path("~/.cache/clip-labeler")
    """Folder that keeps exported models."""
    compile: bool = False
    """Compile the image tower for each shape of view, with torch on CUDA: slow to start, then faster."""
    cuda_graphs: bool = False
    """Compile, and replay a shape's kernels as one CUDA graph; pays where batches are small."""
    warm_up_view_size: int = 0
    """Run a batch of each shape that views of this size can have before saying SERVING; 0: of none. For GPUs."""
    reproducible: bool = False
    """Make each row bit for bit independent of its batch, by padding all batches of a shape to one size."""

    # Batches and queue.
    batch_pixels: int = 0
    """Pixels per batch; 0: those of 32 views of 640 pixels on a GPU, of 8 of 224 pixels on a CPU."""
    max_batch_size: int = 64
    """Images per batch."""
    queue_pixels: int = 128 * 640 * 640
    """Decoded pixels held for the device; further images wait undecoded."""

    # Decoding, in processes of its own: hostile bytes can end one of them, never the server.
    decode_workers: int = 0
    """Processes that decode images; 0: one per CPU, at most 32."""
    decode_memory_bytes: int = 384 * 2**20
    """Memory that each of them may use. An image within the limits below takes at most 300 MiB."""
    decode_seconds: float = 5.0
    """CPU time that decoding one image, or cutting out one view, may take."""

    # Cache of embeddings.
    cache_bytes: int = 256 * 2**20
    """Memory for the embeddings of images and crops seen before; 0: none is kept."""
    cache_dir: Path | None = None
    """Folder for more of them, which outlasts the server. [default: none]"""
    cache_disk_bytes: int = 4 * 2**30
    """Size of that folder."""

    # Limits, published by GetServerInfo.
    max_items_per_request: int = 64
    """Images per request or stream message."""
    max_request_bytes: int = 64 * 2**20
    """Bytes per message."""
    max_image_bytes: int = 32 * 2**20
    """Encoded bytes per image."""
    max_image_pixels: int = 100_000_000
    """Pixels per image. A JPEG of more than 30 megapixels is decoded at a reduced size; a progressive one needs memory
    for all of them and is refused above 40 to 79, by its chroma subsampling."""
    max_non_jpeg_pixels: int = 4096 * 4096
    """Pixels per image of any other format, which cannot be decoded at a reduced size."""
    max_crops_per_item: int = 128
    """Boxes or crops per image."""
    max_requests_in_flight: int = 64
    """Unary score requests in flight; each caller has an equal share of them, and is told to come back above it."""
    max_queue_seconds: float = 2.0
    """A caller whose work in flight will take longer has its unary requests told to come back."""
    max_items_in_flight_per_stream: int = 128
    """Images that one stream may have in flight before the server stops reading from it."""
    max_classes: int = 2000
    """Class names per vocabulary."""
    max_text_bytes: int = 256
    """UTF-8 bytes per class name and per template."""
    max_view_size: int = 1024
    """Largest side of a view, in pixels."""

    # Operations.
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the labeler's own log; of libraries, warnings and errors are logged."""
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line."""
    metrics_port: int | None = None
    """Port for /metrics (Prometheus), /livez and /readyz on the same host; 0 takes a free one. [default: none]"""
    otlp_endpoint: str | None = None
    """OpenTelemetry receiver (OTLP over gRPC) for traces, such as http://localhost:4317. [default: none]"""

    # Stopping.
    grace: float = 20.0
    """Seconds that calls in flight may take after SIGTERM."""
    hang_seconds: float = 60.0
    """A device that is overdue by so long is lost: the process ends, for its supervisor to start it again."""
    stop_with_stdin: bool = False
    """Stop when standard input closes, so that a server never outlives the parent that holds the pipe."""

    def __post_init__(self) -> None:
        for flag, port in (("--port", self.port), ("--metrics-port", self.metrics_port or 0)):
            if not 0 <= port <= 65535:
                raise ValueError(f"{flag} must be in 0 to 65535, got {port}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        if self.tls_cert and self.insecure:
            raise ValueError("--tls-cert and --insecure contradict each other")
        if not (self.tls_cert or self.insecure or _is_loopback(self.host)):
            raise ValueError(
                f"--host {self.host} is reachable from other machines and connections are plain text: "
                "add --tls-cert and --tls-key, or --insecure if that is wanted"
            )
        if (self.compile or self.cuda_graphs) and self.backend != "torch":
            raise ValueError(f"--compile and --cuda-graphs are for --backend torch, got {self.backend}")
        if self.cache_bytes < 0 or self.cache_disk_bytes < 2**26:
            raise ValueError("--cache-bytes must be 0 or more, --cache-disk-bytes 67108864 (64 MiB) or more")
        if self.cache_dir is not None and self.cache_bytes == 0:
            raise ValueError("--cache-dir needs a --cache-bytes above 0")
        for name in ("grace", "batch_pixels", "decode_workers", "warm_up_view_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name.replace('_', '-')} must not be negative")
        if self.decode_memory_bytes < MIN_DECODE_MEMORY_BYTES:
            raise ValueError(f"--decode-memory-bytes must be at least {MIN_DECODE_MEMORY_BYTES}")
        positive = ("queue_pixels", "decode_seconds", "hang_seconds")
        for name in (*positive, *(name for name in vars(self) if name.startswith("max_"))):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive, got {getattr(self, name)}")

    @property
    def model_name(self) -> str:
        """The name that the model is served under."""
        return self.model or (self.model_config.stem if self.model_config else DEMO_MODEL)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
