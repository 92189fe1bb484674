"""The error families, told apart by who must act.

    UnderstudyError
     +-- OperatorError        a wrong file, a missing permission: the operator mends it (exit code 1, a hint)
     |    +-- Problems        of a configuration: all of them at once (config.problems)
     +-- DecodeError          a peer sent bytes that are not what they claim: counted and dropped
     +-- EnvironmentFailure   the kernel, the disk or a tool refused: operation, object and errno

A broken assumption of our own is an AssertionError: the agent resigns and is started again.
"""


class UnderstudyError(Exception):
    """Base of every error that Understudy raises on purpose."""


class OperatorError(UnderstudyError):
    """The operator can mend this. `code` is stable and documented, `hint` says how to mend it."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code} {self.message}" + (f"\n  hint: {self.hint}" if self.hint else "")


class DecodeError(UnderstudyError):
    """Bytes from the network are not what they claim to be. `reason` is a short stable word for counters."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class EnvironmentFailure(UnderstudyError):
    """The kernel, the disk or a tool refused an operation on an object."""

    def __init__(self, operation: str, subject: str, reason: str) -> None:
        super().__init__(f"{operation} {subject}: {reason}")
        self.operation = operation
        self.subject = subject
        self.reason = reason
