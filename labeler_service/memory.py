"""How much memory the process keeps that it has freed."""

import ctypes

# <malloc.h> of glibc. Other C libraries have no mallopt, or refuse what they do not know.
M_ARENA_MAX = -8


def keep_one_arena() -> None:
    """Before threads start: glibc then has one heap for all of them, in place of one each, up to eight a core, that
    keeps the most that its threads ever had. Those grew for ten minutes, by 6 % after the first two; one heap by 2 %
    (benchmarks.labeler_soak, 2026-11)."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_ARENA_MAX, 1)
