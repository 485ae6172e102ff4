"""What a description cannot say, said to schemathesis.

A request that fits the description may still be refused with 422 for what only
the server knows: a cursor of another list, an idempotency key that was used for
another request, a reference that a batch holds twice. Every other refusal of a
fitting request is a mistake, either of the server or of the description.
"""

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

KNOWN = (
    "is not a cursor of this list with this filter",
    "the idempotency key was used before for a request with another body",
    "occurs more than once in the batch",
    "the character U+0000 cannot be kept",
    "differs from the header Idempotency-Key",
    "a tenant's key is no operator's",
    "must be a state other than RUNNING",
    "an attribute is a string, a boolean or a number",
    "the name of an attribute has lower-case letters and digits",
    "must be named, unless the only scope is operator",
)
# What depends on the time of the request.
LATER = "must lie in the future; it is "
# What depends on another field: an attempt that failed has an error, and one that
# ended otherwise has none.
OUTCOME = ("must be an object, not null", "is for failures", "is for failures and SNOOZED",
    "is required", "is required for SNOOZED")
OTHERWISE = {"/v1/worker/fail": OUTCOME}
# What a rule says is more than its form: its schedule, its expressions, its
# templates and its signature have to mean something.
MEANING = "/v1/automation-rules"


def known(case, detail):
    return detail in KNOWN or detail.startswith(LATER) or detail in OTHERWISE.get(case.operation.path, ())


@schemathesis.check
def fitting_requests_are_accepted(ctx, response, case):
    if response.status_code == 422:
        if case.operation.path.startswith(MEANING):
            return None
        errors = response.json().get("errors", [])
        if errors and all(known(case, error["detail"]) for error in errors):
            return None
    return positive_data_acceptance(ctx, response, case)


def has_null(value):
    if isinstance(value, dict):
        return any(map(has_null, value.values()))
    if isinstance(value, list):
        return any(map(has_null, value))
    return value is None


@schemathesis.check
def misfits_are_refused(ctx, response, case):
    """A delivery may be anything, and `null` is as good as leaving a field out."""
    if case.operation.path == "/v1/events/webhook/{key}" or has_null(case.body):
        return None
    return negative_data_rejection(ctx, response, case)


@schemathesis.check
def problems_are_whole(ctx, response, case):
    if response.status_code < 400:
        return
    assert response.headers["content-type"][0].startswith("application/problem+json")
    problem = response.json()
    assert problem["status"] == response.status_code
    assert problem["type"] == "urn:taskflow:problem:" + problem["code"]
    assert problem["instance"] == "urn:taskflow:request:" + response.headers["x-request-id"][0]
    if response.status_code == 422:
        assert problem["errors"], "a 422 names what is wrong"


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Long polls and ticks are as good when they are short."""
    if not isinstance(case.body, dict):
        return
    if case.operation.path == "/v1/pulse":
        case.body.setdefault("budget_ms", 20)
    for field in ("wait_ms", "budget_ms"):
        time = case.body.get(field)
        if isinstance(time, int) and not isinstance(time, bool) and 0 <= time <= 60_000:
            case.body[field] = time % 20
