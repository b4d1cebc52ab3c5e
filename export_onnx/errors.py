"""The one exception that stands for a mistake the user can see and act on."""


class ExportError(Exception):
    """An export that cannot go on; its message is one line for the user."""
