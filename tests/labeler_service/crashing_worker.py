"""A decode worker that fails in the ways that hostile bytes could make it fail, where the bytes ask for it by name.

No flag of the labeler leads here: tests give this file to DecodePool, or to a labeler by crashing_labeler.py.
"""

import os
import signal
import time
from pathlib import Path

import numpy as np

from labeler_service import decode_worker, decoding, images

real_decode = decoding.decode


def decode(content: bytes, limits: decoding.ImageLimits) -> decoding.DecodedImage:
    what, _, path = content.decode(errors="replace").partition(":")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "crash once" and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "spin":
        while True:
            pass
    if what == "hang":
        time.sleep(600)
    if what == "lie":
        images.global_view = lambda image, geometry: np.zeros((1000, 1000, 3), np.uint8)
    if what in ("crash once", "lie", "touch"):
        Path(path).touch()
        return decoding.DecodedImage(images.Image.new("RGB", (50, 50)), 50, 50)
    return real_decode(content, limits)


decoding.decode = decode
if __name__ == "__main__":
    decode_worker.main()
