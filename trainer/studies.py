"""The paper's tables and figures as rows of settings, with the published figures beside them. Runs nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Figures = Mapping[str, float]


def _on(voc12: float | None = None, voc07: float | None = None, coco14: float | None = None,
        nuswide: float | None = None) -> Figures:  # fmt: skip
    """Published mAP in percent by data set."""
    figures = {"voc12": voc12, "voc07": voc07, "coco14": coco14, "nuswide": nuswide}
    return MappingProxyType({name: value for name, value in figures.items() if value is not None})


@dataclass(frozen=True)
class Row:
    """One row of a study: a name, settings over the common ones, and the paper's mAP in percent by data set."""

    name: str
    settings: dict[str, Any]
    paper: Figures = field(default_factory=_on)


@dataclass(frozen=True)
class Study:
    """Rows to compare, and what to show of them: each row's mAP, or with `x` a curve over that setting; `classes` asks
    for the AP of the classes with the lowest bias, `bias` for the bias of all classes."""

    title: str
    rows: tuple[Row, ...]
    x: str | None = None
    classes: int = 0
    bias: bool = False


NO_MODULE = Row("no module", {"update": False, "debias": False, "consistency": False}, _on(86.4))
FULL_SUPERVISION = Row("full supervision", {"method": "bce"}, _on(90.1, 91.3, 78.5, 50.7))
WITHOUT_DEBIASING = Row("update + consistency", {"debias": False}, _on(88.8))
CCD = Row("update + debias + consistency", {}, _on(90.1, 91.0, 70.3, 44.5))


def _method(name: str, title: str, *paper: float | None) -> Row:
    return Row(title, {"method": name}, _on(*paper))


TABLE1 = Study(
    "Methods by what they are told (paper Table 1)",
    (
        _method("bce", "BCE, all targets", 90.1, 91.3, 78.5, 50.7),
        _method("bce_ls", "BCE-LS, all targets", 91.6, 92.6, 79.4, 51.7),
        _method("sarb", "SARB, 10 % of the entries", None, 85.7, 72.5),
        _method("asl", "ASL, 10 % of the entries", None, 82.9, 69.7),
        _method("sst", "SST (Chen et al.), 10 % of the entries", None, 81.5, 68.1),
        _method("ll_r", "LL-R, one positive", 89.7, 90.6, 72.6, 47.4),
        _method("ll_ct", "LL-Ct, one positive"),
        _method("ll_cp", "LL-Cp, one positive"),
        _method("g2netpl", "G2NetPL (a reconstruction), one positive", 89.5, 89.9, 72.5, 48.5),
        _method("an", "Naive AN, CLIP", 85.5, 86.5, 65.1, 40.8),
        _method("an_ls", "AN-LS (Szegedy et al.), CLIP", 86.8, 87.9, 65.5, 41.3),
        _method("wan", "WAN (Aodha et al.), CLIP", 84.2, 86.2, 63.9, 40.1),
        _method("partial_bce", "Durand et al., CLIP", 81.3, 83.1, 63.2, 39.4),
        _method("epr", "EPR, CLIP"),
        _method("role", "ROLE, CLIP", 82.6, 84.6, 67.1, 43.2),
        _method("cdul", "CDUL, CLIP", 88.6, 89.0, 69.2, 44.0),
        _method("ccd", "CCD, CLIP", 90.1, 91.0, 70.3, 44.5),
    ),
)

TABLE2 = Study(
    "Modules of the method (paper Table 2), and full supervision",
    (
        NO_MODULE,
        Row("update", {"debias": False, "consistency": False}, _on(88.7)),
        Row("update + debias", {"consistency": False}, _on(89.4)),
        WITHOUT_DEBIASING,
        CCD,
        FULL_SUPERVISION,
    ),
)

# The paper's seven of VOC's twenty classes.
TABLE3 = Study("AP of the classes with the lowest bias (paper Table 3)", (WITHOUT_DEBIASING, CCD), classes=7)

FIG2 = Study("Class bias of CLIP (paper Fig. 2d)", (CCD,), bias=True)

FIG3 = Study(
    "Where the local views are (paper Fig. 3)",
    (
        Row("around boxes", {"view_policy": "around_gt"}),
        Row("boxes", {"view_policy": "gt"}),
        Row("random", {"view_policy": "random"}),
        Row("grid", {"view_policy": "grid"}),
        Row("activation maps", {"view_policy": "cam"}),
    ),
)


def _curve(
    title: str, setting: str, values: tuple[float, ...], common: Mapping[str, Any] = MappingProxyType({})
) -> Study:
    rows = tuple(Row(f"{setting} {value:g}", {**common, setting: value}) for value in values)
    return Study(title, rows, x=setting)


FIG6A = _curve("Mean number of local views (paper Fig. 6a)", "mean_views", (4.0, 6.0, 10.0, 14.0), {"views": "mean"})
FIG6B = _curve("Weight of the initial label (paper Fig. 6b)", "alpha", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))

STUDIES: dict[str, Study] = {
    "table1": TABLE1,
    "table2": TABLE2,
    "table3": TABLE3,
    "fig2": FIG2,
    "fig3": FIG3,
    "fig6a": FIG6A,
    "fig6b": FIG6B,
}
