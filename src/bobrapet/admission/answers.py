"""Findings in the words of the API server: a `Status` with one cause per fault (spec admission A2.3, api 6)."""

from __future__ import annotations

from typing import Final

from bobrapet.api import KubernetesObject
from bobrapet.runtime.webhook.admission import Request, Response, allowed
from bobrapet.validation import Findings

INVALID: Final = 422

MAX_IN_MESSAGE: Final = 20
"""Faults that the message lists; the causes have them all."""


def answer(findings: Findings, kind: type[KubernetesObject], request: Request) -> Response:
    """Yes, or 422 `Invalid` with all faults as causes; warnings in either case."""
    if findings.is_valid:
        return allowed().with_warnings(*findings.warnings)
    group = kind.API_VERSION.partition("/")[0]
    texts = [str(fault) for fault in findings.faults[:MAX_IN_MESSAGE]]
    if more := len(findings.faults) - len(texts):
        texts.append(f"and {more} more")
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return Response(
        allowed=False,
        code=INVALID,
        reason="Invalid",
        message=f'{kind.KIND}.{group} "{request.name}" is invalid: {listed}',
        details={
            "name": request.name,
            "group": group,
            "kind": kind.KIND,
            "causes": [fault.cause() for fault in findings.faults],
        },
        warnings=findings.warnings,
    )


def undecided(error: Exception) -> Response:
    """The object could not be judged now; asking again may help."""
    return Response(allowed=False, code=500, reason="InternalError", message=str(error))


def unreadable(message: str) -> Response:
    """What was sent is no object of the kind at all."""
    return Response(allowed=False, code=400, reason="BadRequest", message=message)
