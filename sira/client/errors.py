"""Errors of the client. Each message says what the service said; none holds a payload value."""

from sira.client.messages import EventProblem


class SiraError(Exception):
    """Any failure of a call."""


class ServiceUnreachable(SiraError):
    """No answer arrived: the service may or may not have scored the event. Repeat it with the same event id."""


class ServiceProblem(SiraError):
    """The service answered with a problem document."""

    def __init__(self, problem: EventProblem) -> None:
        self.problem = problem
        faults = "; ".join(f"{fault.pointer} {fault.detail}" for fault in problem.errors)
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}" + (f" ({faults})" if faults else ""))

    @property
    def status(self) -> int:
        return self.problem.status


class RequestInvalid(ServiceProblem):
    """400, 413 or 422: `problem.errors` names every wrong field. Repeating it cannot help."""


class NotAdmitted(ServiceProblem):
    """401 or 403: the token is missing, wrong or of another role."""


class ServiceOverloaded(ServiceProblem):
    """429 or 503, after all attempts."""


_BY_STATUS: dict[int, type[ServiceProblem]] = {
    400: RequestInvalid,
    401: NotAdmitted,
    403: NotAdmitted,
    413: RequestInvalid,
    422: RequestInvalid,
    429: ServiceOverloaded,
    503: ServiceOverloaded,
}


def error_of(problem: EventProblem) -> ServiceProblem:
    return _BY_STATUS.get(problem.status, ServiceProblem)(problem)
