"""The log: readable lines or JSON on standard error, and one line for each finished call. It never holds tokens, image
contents or class names."""

import logging
import sys

import grpc
from pythonjsonlogger.json import JsonFormatter

from labeler_service.call_context import current_call
from labeler_service.call_record import CallObserver, CallRecord

# Probes come every few seconds for months.
_PROBES = "grpc.health.v1.Health/"

calls = logging.getLogger("labeler_service.calls")


def configure(level: str, log_format: str) -> None:
    """The settings --log-level and --log-format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_call)
    if log_format == "json":
        fields = {"levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter(["levelname", "name", "message"], rename_fields=fields, timestamp="time"))
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("labeler_service").setLevel(level.upper())
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_hangup)


class CallLog(CallObserver):
    """One line for each finished call; probes at level debug."""

    def ended(self, record: CallRecord) -> None:
        level = logging.DEBUG if record.method.startswith(_PROBES) else logging.INFO
        if record.code is grpc.StatusCode.INTERNAL:
            level = logging.ERROR
        calls.log(
            level,
            "%s %s %s: %.3f s, %d items, %d failed, request %s",
            record.method,
            record.reason or record.code.name,
            record.call.caller,
            record.seconds,
            record.num_items,
            record.num_failed,
            record.call.request_id,
            extra={
                "method": record.method,
                "code": record.code.name,
                "reason": record.reason,
                "seconds": round(record.seconds, 6),
                "items": record.num_items,
                "failed_items": record.num_failed,
            },
        )


def _is_no_hangup(line: logging.LogRecord) -> bool:
    """gRPC calls it an error when a caller goes while an answer is on its way; the call's own line tells of that."""
    return not line.getMessage().startswith("ExecuteBatchError")


def _add_call(line: logging.LogRecord) -> bool:
    """Tells for each line that is written during a call, of whichever module, which call that was."""
    call = current_call.get()
    if call.request_id:
        line.request_id, line.caller = call.request_id, call.caller
    return True
