"""The labeler at an address: reachable, healthy, with which model, how far away, how fast and what bounds it."""

import time
from collections.abc import Iterator

from clip_labeler import AccessDeniedError, Credentials, LabelerClient, LabelerError, Preprocessing, bench
from clip_labeler.diagnosis import tls_mismatch
from clip_labeler.targets import Target
from trainer import __version__
from trainer.doctor.finding import Finding

# A labeler that runs answers at once.
CONTACT_SECONDS = 10.0
SPEED_SECONDS = 2.0
# Round trips of which the fastest counts: the first opens the connection.
ROUND_TRIPS = 5
SUBJECT = "labeler"


def check_labeler(address: str, credentials: Credentials) -> Iterator[Finding]:
    """Stops at the first failure: what follows would fail for the same reason. Raises ValueError for what is no
    address."""
    target = Target.parse(address)
    if mismatch := tls_mismatch(target, credentials):
        yield Finding("labeler TLS", "fail", mismatch, "see --labeler-ca, --labeler-cert and --labeler-key")
        return
    try:
        with LabelerClient(address, credentials=credentials, max_wait=CONTACT_SECONDS) as client:
            yield _health(client)
            yield _security(target, credentials)
            yield _model(client)
            yield _latency(client)
            yield _speed(client)
    except AccessDeniedError as error:
        yield Finding(SUBJECT, "fail", str(error), "see --labeler-token-file and --labeler-cert")
    except LabelerError as error:
        advice = f"does it run, and does a firewall let {address} through? docs/operations.md says more"
        yield Finding(SUBJECT, "fail", str(error), advice)


def _health(client: LabelerClient) -> Finding:
    client.wait_until_ready(CONTACT_SECONDS)
    return Finding(SUBJECT, "ok", f"serves at {client.target}")


def _security(target: Target, credentials: Credentials) -> Finding:
    if credentials.uses_tls:
        return Finding("labeler TLS", "ok", "on, and its certificate is trusted")
    if target.is_local:
        return Finding("labeler TLS", "ok", "off; no byte leaves this machine")
    advice = "use TLS where others share the network: docs/operations.md"
    return Finding("labeler TLS", "warn", "off: images and labels travel in plain text", advice)


def _model(client: LabelerClient) -> Finding:
    info = client.server_info()
    text = f"{info.model_name} ({info.dtype}, {info.backend} on {info.device}), version {info.version}"
    if info.version != __version__:
        return Finding("labeler model", "warn", text, f"this is version {__version__}: update the older one")
    if info.device.startswith("cpu"):
        return Finding("labeler model", "warn", text, "without a graphics card large models take a second an image")
    return Finding("labeler model", "ok", text)


def _latency(client: LabelerClient) -> Finding:
    seconds = []
    for _ in range(ROUND_TRIPS):
        start = time.perf_counter()
        client.wait_until_ready(CONTACT_SECONDS)
        seconds.append(time.perf_counter() - start)
    return Finding("labeler latency", "ok", f"{1000 * min(seconds):.1f} ms for a round trip")


def _speed(client: LabelerClient) -> Finding:
    """Drawn images at the model's own size; what takes most of an image's time bounds the rate."""
    preprocessing = Preprocessing("bucketed", client.server_info().native_resolution)
    load = bench.Load(bench.drawn_images(), preprocessing, SPEED_SECONDS, concurrency=4, batch_size=8)
    result = bench.run(client, load)
    place = bound_by({name: place["share"] for name, place in result["places"].items()})
    text = f"{result['images_per_second']:.0f} images/s at {preprocessing.view_size} px, {place}-bound"
    if result["failed"]:
        advice = "see the labeler's log"
        return Finding("labeler speed", "fail", f"{text}; {result['failed']} drawn images failed", advice)
    return Finding("labeler speed", "ok", text)


def bound_by(shares: dict[str, float]) -> str:
    """Which of network, decode and device most of an image's time goes to, by the shares of `clip_labeler.bench`:
    what waits for the device is the device's, the rest of the waiting belongs to the slower of both."""
    places = {
        "network": shares["client"] + shares["network"],
        "decode": shares["decode"],
        "device": shares["device"] + shares["queue"],
    }
    slower = "decode" if places["decode"] > places["device"] else "device"
    places[slower] += shares["others"]
    return max(places, key=places.__getitem__)
