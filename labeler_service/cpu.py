"""How torch's libraries use a CPU that they share with decoders and callers."""

import os

# GCC's OpenMP threads spin 300,000 times while they wait, which takes the cores from others, whose threads then make a
# batch take up to five times as long. So short a spin costs nobody anything: RN50 at 224 pixels on two cores takes 92
# ms for one view and 65 for each of eight, where the default takes 87 and 63, and none at all (OMP_WAIT_POLICY=PASSIVE)
# 103 to 113 and 66 (2026-11).
SPINS = 1000
# oneDNN keeps kernels for the 1,024 shapes and batch sizes of late, up to a megabyte each, and those that go leave
# holes in the heap. These are enough for the layers of a ResNet-50 in one shape. With work of 190 shapes memory then
# grows by 0.8 % after the first two minutes, with 256 by 1.8 %; making them again takes 5 of the 60 ms of RN50's lone
# view (2026-11).
KEPT_KERNELS = 64
# How much later than answers to callers the model's threads get a core that both want. On two cores refusals then take
# 6.7 ms at the 99th percentile in place of 9.5, under twice the load that RN50 can carry, and no answer comes later.
NICENESS = 5


def share_cpu() -> None:
    """Sets what the user has not set. To be called before torch is imported, which reads it."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_KERNELS))


def yield_to_callers() -> None:
    """Lowers the priority of this thread and of those that it starts; of nothing else, on Linux."""
    os.nice(NICENESS)
