"""The errors a caller can meet. Each carries one sentence: what is wrong and what to do."""


class MedCompressError(ValueError):
    """Base of every error raised on purpose by this library."""


class FormatError(MedCompressError):
    """The bytes of a file are not valid in its format: wrong magic, truncated, damaged, or beyond a stated limit."""


class UnsupportedError(MedCompressError):
    """The input is valid but is something this library declines to handle; the message gives the reason."""


class SeveralSeriesError(UnsupportedError):
    """A folder holds several series and none was chosen; `series` lists them (`dicom.Series`)."""

    def __init__(self, message: str, series: list) -> None:
        super().__init__(message)
        self.series = series


class Cancelled(MedCompressError):
    """Raised by a `progress` callback to stop the work; nothing partial is left behind."""
