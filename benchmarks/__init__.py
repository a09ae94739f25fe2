"""Programs that measure; each says how to run it."""

import os

# As the labeler does for itself (labeler_service/__main__.py), so that both encode alike; read when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
