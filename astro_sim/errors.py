"""The one error that a user's input can cause."""


class InputError(ValueError):
    """Input that cannot be used; its message is one line that names the field, the value and what is allowed.

    The command line prints the message alone and exits with 2.

    Parameters
    ----------
    field : str
        Name of the parameter, file or column that is wrong.
    value : object
        What was given.
    allowed : str
        What would have been accepted, as a phrase: ``"a positive time constant in seconds"``.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        super().__init__(f"{field}: got {value!r}, expected {allowed}")

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, object, str]]:
        return type(self), (self.field, self.value, self.allowed)
