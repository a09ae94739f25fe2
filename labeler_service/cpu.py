"""How torch's libraries use a CPU that they share with decoders and callers."""

import os

# GCC's OpenMP threads spin 300,000 times while they wait, which takes the cores from others, whose threads then make a
# batch take up to five times as long. So short a spin costs nobody anything: RN50 at 224 pixels on two cores takes 92
# ms for one view and 65 for each of eight, where the default takes 87 and 63, and none at all (OMP_WAIT_POLICY=PASSIVE)
# 103 to 113 and 66 (2026-11).
SPINS = 1000
# oneDNN keeps kernels for the 1,024 shapes and batch sizes of late, up to a megabyte each, and those that go leave
# holes in the heap. With work of 190 shapes memory grows by 0.8 % after the first two minutes with 64 of them, by 1.8 %
# with 256 (benchmarks.labeler_soak, 2026-11). RN50 in batches of 1 and 4 takes as much CPU time with 64, 128 and 256.
KEPT_KERNELS = 64
# What the model's threads add to the process's niceness, so that answers get a core that both want: on two cores, under
# twice the load that RN50 can carry, refusals mostly take 7 to 10 ms at the 99th percentile; an idle server answers as
# fast as without (benchmarks.labeler_latency, 2026-11).
NICENESS = 5
# What decode processes add where the model has the same cores. One that takes a core from a batch holds up the threads
# on all the others; with a small share they decode in the gaps that batches leave. RN50 at 224 pixels on two cores then
# answers 21.9 images a second in place of 20.6, of 24.2 that the encoder alone does (medians of four rounds in turn,
# with 19, 2026-11-26). Not 19: beside other programs that want all cores a large photo would take a minute.
DECODE_NICENESS = 15


def share_cpu() -> None:
    """Sets what the user has not set. To be called before torch is imported, which reads it."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KEPT_KERNELS))


def yield_to_callers() -> None:
    """Lowers the priority of this thread and of those that it starts; of nothing else, on Linux."""
    os.nice(NICENESS)
