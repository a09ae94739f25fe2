"""Who calls: checks bearer tokens before a call's body is read, and names the caller of each call."""

import ipaddress
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import grpc

from labeler_service.call_context import ANONYMOUS, current_call
from labeler_service.errors import RequestError
from labeler_service.interceptors import AroundCall
from labeler_service.tokens import Tenant, TokenFile

# Load balancers and orchestrators ask for health, and have no token.
_OPEN_TO_ALL = "/grpc.health.v1.Health/"
_UNFIT_FOR_LOGS = re.compile(r"[^A-Za-z0-9._-]")
_MAX_NAME_LENGTH = 64


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without a known token, whatever their method, unless there is no token file; sets
    `current_call.caller` and its quota.

    The caller is the token's name, else the common name of its TLS certificate, else its address; callers on this
    machine without any of these are one, "anonymous".
    """

    def __init__(self, tokens: TokenFile | None) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        if handler_call_details.method.startswith(_OPEN_TO_ALL):
            return await continuation(handler_call_details)
        tenant = None
        if self._tokens is not None:
            try:
                tenant = _authenticate(self._tokens, handler_call_details.invocation_metadata)
            except RequestError as error:
                return _refuse(error)
        return await _CallBy(tenant).intercept_service(continuation, handler_call_details)


class _CallBy(AroundCall):
    """One call, by that tenant."""

    def __init__(self, tenant: Tenant | None) -> None:
        self._tenant = tenant

    @asynccontextmanager
    async def around(self, details: grpc.HandlerCallDetails, context: Any) -> AsyncIterator[None]:
        if self._tenant is None:
            call = replace(current_call.get(), caller=_caller(context))
        else:
            call = replace(current_call.get(), caller=self._tenant.name, quota=self._tenant.quota)
        current_call.set(call)
        yield


def _authenticate(tokens: TokenFile, metadata: Any) -> Tenant:
    """Raises RequestError."""
    value = next((str(value) for key, value in metadata or () if key == "authorization"), "")
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer":
        raise RequestError(
            "TOKEN_MISSING",
            'a token is needed: send it as metadata, "authorization: Bearer TOKEN"',
            code=grpc.StatusCode.UNAUTHENTICATED,
        )
    tenant = tokens.find(token.strip())
    if tenant is None:
        raise RequestError("TOKEN_UNKNOWN", "the token is not known", code=grpc.StatusCode.UNAUTHENTICATED)
    return tenant


def _refuse(error: RequestError) -> Any:
    """For methods of every kind. A handler of single requests would wait for the whole body first."""

    async def refuse(requests: AsyncIterator[bytes], context: Any) -> None:
        raise error

    return grpc.stream_unary_rpc_method_handler(refuse)


def _caller(context: Any) -> str:
    """The common name of the caller's certificate, else its address without the port."""
    (common_name,) = context.auth_context().get("x509_common_name", [b""])
    if common_name:
        return _UNFIT_FOR_LOGS.sub("_", common_name.decode("utf-8", "replace"))[:_MAX_NAME_LENGTH]
    # "ipv4:127.0.0.1:50051" or "ipv6:%5B::1%5D:50051"
    host = unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")
    address = ipaddress.ip_address(host.partition("%")[0])
    return ANONYMOUS if address.is_loopback else str(address)
