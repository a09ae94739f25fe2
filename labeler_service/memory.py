"""What the process keeps of memory that it has freed, and which of its objects it looks through for garbage."""

import ctypes
import gc

# <malloc.h> of glibc. Other C libraries have no mallopt, or refuse what they do not know.
M_ARENA_MAX = -8


def keep_one_arena() -> None:
    """Before threads start: glibc then has one heap for all of them, in place of one each, up to eight a core, that
    keeps the most that its threads ever had. Those grew for ten minutes, by 6 % after the first two; one heap by 2 %
    (benchmarks.labeler_soak, 2026-11)."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_ARENA_MAX, 1)


def exempt_from_collection() -> None:
    """Once the model is loaded: what there is lives as long as the process, and the garbage collector no longer looks
    through it. A full collection stops everything that Python does for as long as it takes to look at 400,000 objects,
    most of them torch's: 0.15 s on an idle core, 0.4 s on a busy one (2026-11). What loading left free goes back to the
    system, which is 130 MB of RN50's (glibc).
    """
    gc.collect()
    gc.freeze()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
