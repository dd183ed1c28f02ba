"""What FORMAT.md means by "refuse"."""


class RefusedError(ValueError):
    """The file is not valid; there are no voxels."""


def require(condition: bool, complaint: str) -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise RefusedError(complaint)
