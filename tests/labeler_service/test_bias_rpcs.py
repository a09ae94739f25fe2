"""EstimateBias and ApplyBias over the wire: merging, and the mistakes that the contract names."""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from clip_labeler.v1 import labeler_pb2 as pb


def matrix(values: Any) -> pb.Matrix:
    array = np.atleast_2d(np.asarray(values, "<f4"))
    return pb.Matrix(rows=array.shape[0], columns=array.shape[1], data=array.tobytes())


def values(message: pb.Matrix) -> np.ndarray:
    return np.frombuffer(message.data, "<f4").reshape(message.rows, message.columns)


def failure(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


GATE = pb.EntropyGate(max_entropy=2, unit=pb.EntropyGate.UNIT_NATS)
ROWS = np.array([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.6, 0.3, 0.1]], np.float32)


def test_statistics_of_earlier_calls_merge(stub: Any) -> None:
    def estimate(*requests: pb.EstimateBiasRequest) -> pb.EstimateBiasResponse:
        return stub.EstimateBias(iter(requests))

    whole = estimate(pb.EstimateBiasRequest(gate=GATE, probabilities=matrix(ROWS)))
    part = estimate(pb.EstimateBiasRequest(gate=GATE, probabilities=matrix(ROWS[:1])))
    merged = estimate(
        pb.EstimateBiasRequest(gate=GATE, statistics=part.statistics),
        pb.EstimateBiasRequest(probabilities=matrix(ROWS[1:])),
    )
    assert merged == whole
    assert values(whole.bias)[0] == pytest.approx([0.7, 0.6, 0.65])
    assert whole.statistics.num_rows == 3


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [{"probabilities": matrix(ROWS)}],
        [{"gate": GATE}],
        [{"gate": GATE, "probabilities": matrix(ROWS)}, {"gate": GATE}],
        [{"gate": GATE, "probabilities": matrix(ROWS)}, {"probabilities": matrix(ROWS[:, :2] / 0.9)}],
        [{"gate": GATE, "probabilities": matrix(ROWS)}, {"probabilities": matrix([[0.5, 0.5]])}],
        [{"gate": GATE, "probabilities": pb.Matrix(rows=3, columns=3, data=bytes(35))}],
        [{"gate": GATE, "probabilities": pb.Matrix(rows=-1, columns=-1, data=bytes(4))}],
        [{"gate": pb.EntropyGate(max_entropy=-1, unit=1), "probabilities": matrix(ROWS)}],
        [{"gate": pb.EntropyGate(max_entropy=1), "probabilities": matrix(ROWS)}],
        [{"gate": GATE, "statistics": pb.BiasStatistics(sums=[2], counts=[1], num_rows=1)}],
        [{"gate": GATE, "statistics": pb.BiasStatistics(sums=[1], counts=[1, 1], num_rows=2)}],
    ],
)
def test_mistakes(stub: Any, requests: list[dict[str, Any]]) -> None:
    error = failure(lambda: stub.EstimateBias(iter(pb.EstimateBiasRequest(**fields) for fields in requests)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "request_fields",
    [
        {"probabilities": matrix(ROWS)},
        {"probabilities": matrix(ROWS), "calibration": pb.Calibration(bias=matrix([1, 1]))},
        {"probabilities": matrix(ROWS * 9), "calibration": pb.Calibration(bias=matrix([1, 1, 1]))},
        {"probabilities": matrix(ROWS), "calibration": pb.Calibration(bias=matrix([1, 1, 1]), floor=2)},
        {"calibration": pb.Calibration(bias=matrix([1, 1, 1]))},
    ],
)
def test_apply_mistakes(stub: Any, request_fields: dict[str, Any]) -> None:
    error = failure(lambda: stub.ApplyBias(pb.ApplyBiasRequest(**request_fields)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
