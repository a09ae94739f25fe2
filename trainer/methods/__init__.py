"""The methods of the paper's Table 1, one file each, by the name that --method takes."""

from trainer.methods import (
    an,
    an_ls,
    asl,
    bce,
    bce_ls,
    ccd,
    cdul,
    epr,
    g2netpl,
    ll_cp,
    ll_ct,
    ll_r,
    partial_bce,
    role,
    sarb,
    sst,
    wan,
)
from trainer.methods.method import Method

METHODS: dict[str, Method] = {
    "bce": bce.METHOD,
    "bce_ls": bce_ls.METHOD,
    "asl": asl.METHOD,
    "sst": sst.METHOD,
    "sarb": sarb.METHOD,
    "ll_r": ll_r.METHOD,
    "ll_ct": ll_ct.METHOD,
    "ll_cp": ll_cp.METHOD,
    "g2netpl": g2netpl.METHOD,
    "an": an.METHOD,
    "an_ls": an_ls.METHOD,
    "wan": wan.METHOD,
    "partial_bce": partial_bce.METHOD,
    "epr": epr.METHOD,
    "role": role.METHOD,
    "cdul": cdul.METHOD,
    "ccd": ccd.METHOD,
}
